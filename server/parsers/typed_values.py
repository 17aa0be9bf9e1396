"""Arguments written as text, by the types that the tool declares."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from server.parsers import json_text

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

Types = dict[str, dict[str, tuple[str, ...]]]


def declared_types(tools: Sequence[Mapping[str, Any]]) -> Types:
    """Tool to parameter to the names of its types; those of alternatives one after the other."""
    found: Types = {}
    for tool in tools:
        function = tool.get("function")
        if not isinstance(function, Mapping):
            continue
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        if isinstance(properties, Mapping):
            found[str(function.get("name", ""))] = {key: type_names(schema) for key, schema in properties.items()}
    return found


def type_names(schema: Any) -> tuple[str, ...]:
    if not isinstance(schema, Mapping):
        return ()
    if isinstance(schema.get("anyOf"), (list, tuple)) and schema["anyOf"]:
        return tuple(name for branch in schema["anyOf"] for name in type_names(branch))
    declared = schema.get("type")
    if isinstance(declared, str):
        return (declared,)
    return tuple(str(name) for name in declared) if isinstance(declared, (list, tuple)) else ()


def typed(raw: str, types: tuple[str, ...]) -> Any:
    """The value of a text: null whatever the types, then boolean, integer, number, array and object, where they are
    declared and fit; else the text."""
    if raw.lower() == "null":
        return None
    if "boolean" in types:
        if raw.lower() in ("true", "false"):
            return raw.lower() == "true"
        if types == ("boolean",):
            return False
    if "integer" in types and _INTEGER.fullmatch(raw) and INT64_MIN <= int(raw) <= INT64_MAX:
        return int(raw)
    if "number" in types and _NUMBER.fullmatch(raw):
        return number(raw)
    for kind, python in (("array", list), ("object", dict)):
        if kind in types:
            try:
                value = json_text.read(raw)
            except ValueError:
                continue
            if isinstance(value, python):
                return value
    return raw


def number(raw: str) -> int | float | str:
    """A number; whole ones are integers, one that is too large for a float stays text."""
    if _INTEGER.fullmatch(raw) and len(raw) < 400:
        return int(raw)
    value = float(raw)
    if value in (float("inf"), float("-inf")):
        return raw
    return int(value) if value.is_integer() else value
