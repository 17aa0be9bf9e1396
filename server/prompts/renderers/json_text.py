"""JSON as the vendors' templates write it: numbers without exponents, and mostly no `<`, `>` and `&` in texts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from server.prompts.gotemplate.printing import json_number

_UNSAFE = re.compile("[<>&\u2028\u2029]")


def compact(value: Any) -> str:
    return _written(value, ",", ":", True)


def spaced(value: Any, *, escapes: bool = True) -> str:
    """With a space behind commas and colons. `escapes`: `<`, `>` and `&` by their numbers."""
    return _written(value, ", ", ": ", escapes)


def indented(value: Any) -> str:
    """Over several lines, indented by four spaces."""
    return _indented(value, "\n")


def argument(value: Any, *, spaces: bool = False, escapes: bool = True) -> str:
    """A value that stands alone: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    return spaced(value, escapes=escapes) if spaces else compact(value)


def _written(value: Any, comma: str, colon: str, escapes: bool) -> str:
    if isinstance(value, Mapping):
        items = (
            f"{_text(str(key), escapes)}{colon}{_written(item, comma, colon, escapes)}" for key, item in value.items()
        )
        return "{" + comma.join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + comma.join(_written(item, comma, colon, escapes) for item in value) + "]"
    return _plain(value, escapes)


def _indented(value: Any, line: str) -> str:
    deeper = line + "    "
    if isinstance(value, Mapping) and value:
        items = (f"{deeper}{_text(str(key), True)}: {_indented(item, deeper)}" for key, item in value.items())
        return "{" + ",".join(items) + line + "}"
    if isinstance(value, (list, tuple)) and value:
        return "[" + ",".join(deeper + _indented(item, deeper) for item in value) + line + "]"
    return compact(value)


def _plain(value: Any, escapes: bool) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return json_number(value)
    if isinstance(value, int):
        return int.__repr__(value)
    return _text(str(value), escapes)


def _text(text: str, escapes: bool) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted) if escapes else quoted
