"""Values of `run`'s flags and of the session's /set, checked before the server sees them."""

from __future__ import annotations

import json
import re
from typing import Any

from server.cli.frame import Failure
from server.errors import InvalidModelfile
from server.messages.durations import parse_duration

THINK_LEVELS = ("low", "medium", "high", "max")


def keep_alive_of(text: str) -> str | float:
    """A duration as it is, a bare number as seconds."""
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
        return float(text)
    try:
        parse_duration(text)
    except ValueError as error:
        raise Failure(f'invalid argument "{text}" for "--keepalive" flag: {error}') from error
    return text


def think_of(text: str) -> bool | str:
    if text in THINK_LEVELS:
        return text
    if text in ("true", "false"):
        return text == "true"
    raise Failure(f'invalid value for --think: "{text}" (must be true, false, high, medium, low, or max)')


def format_of(text: str) -> Any:
    """`json`, or a JSON schema as an object."""
    if text == "json":
        return text
    try:
        schema = json.loads(text)
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        raise Failure(f'invalid format: {json.dumps(text)}; expected "json" or a valid JSON Schema object')
    return schema


def option_value(name: str, words: list[str]) -> Any:
    """A parameter of the session from its words, as a Modelfile would have it. Raises InvalidModelfile."""
    from server.store.parameters import DEPRECATED, typed

    if name in DEPRECATED:
        raise InvalidModelfile(f"parameter {name} is deprecated")
    return typed([(name, word) for word in (words if name == "stop" else words[:1])])[name]
