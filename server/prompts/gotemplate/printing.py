"""How values print, alone and as JSON."""

from __future__ import annotations

import base64
import math
import re

from server.prompts.gotemplate.literals import to_bytes
from server.prompts.gotemplate.values import (
    Arguments,
    Mapping,
    NestedProperties,
    Properties,
    Record,
    Sequence,
    Tools,
    TypeNames,
    Value,
)  # fmt: skip

NO_VALUE = "<no value>"
_JSON_UNSAFE = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029\ud800-\udfff]')
_JSON_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


class Unprintable(Exception):
    """A value that has no JSON form."""


def shown(value: Value) -> str:
    """The text of an action's value."""
    return NO_VALUE if value is None else text(value)


def text(value: Value) -> str:
    """`%v`: the text of a value within others, or of an argument of `print`."""
    if value is None or (isinstance(value, NestedProperties) and value.is_absent):
        return "<nil>"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, complex):
        return f"({float_text(value.real)}{'' if value.imag < 0 else '+'}{float_text(value.imag)}i)"
    if isinstance(value, (Arguments, Properties)) and value.is_absent:
        return "{}"
    if isinstance(value, (Record, Tools, Mapping)):
        return json(value)
    if isinstance(value, TypeNames) and len(value) < 2:
        return "".join(value)
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{text(value[key])}' for key in sorted_keys(value))}]"
    return f"[{' '.join(text(item) for item in value)}]"


def sorted_keys(mapping: dict[str, Value]) -> list[str]:
    """The keys in the order they are walked: by bytes, but for maps that keep theirs."""
    return list(mapping) if isinstance(mapping, Mapping) and mapping.keeps_order else sorted(mapping, key=to_bytes)


def float_text(value: float) -> str:
    """The shortest digits that give the number back, with an exponent from a million up and below 1e-4."""
    return _float(value, lowest=-4, highest=6, exponent_digits=2)


def _float(value: float, lowest: int, highest: int, exponent_digits: int) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign = "-" if math.copysign(1, value) < 0 else ""
    digits, exponent = shortest_digits(abs(value))
    if exponent < lowest or exponent >= max(highest, 1):
        mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
        return f"{sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):0{exponent_digits}d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole, fraction = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
    return f"{sign}{whole}{'.' + fraction if fraction else ''}"


def shortest_digits(value: float) -> tuple[str, int]:
    """The digits of a positive number without trailing zeros, and the exponent of the first one."""
    mantissa, _, exponent = f"{value!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return "0", 0
    position = len(whole) - 1 + int(exponent or 0)
    leading = len(whole + fraction) - len(digits)
    return digits.rstrip("0"), position - leading


def json(value: Value) -> str:
    """Compact JSON with `<`, `>` and `&` escaped, keys sorted by bytes. Raises Unprintable on complex numbers."""
    if isinstance(value, str):
        return f'"{_JSON_UNSAFE.sub(_json_escape, value)}"'
    if value is None or (isinstance(value, (Sequence, Mapping)) and value.is_absent):
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return json_number(value)
    if isinstance(value, bytes):
        return f'"{base64.b64encode(value).decode()}"'
    if isinstance(value, Record):
        return "{" + ",".join(f'"{name}":{json(field)}' for name, field in value.json_fields()) + "}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json(key)}:{json(value[key])}" for key in sorted_keys(value)) + "}"
    if isinstance(value, TypeNames) and len(value) == 1:
        return json(value[0])
    if isinstance(value, list):
        return "[" + ",".join(json(item) for item in value) + "]"
    raise Unprintable


def _json_escape(match: re.Match[str]) -> str:
    character = match[0]
    if "\ud800" <= character <= "\udfff":
        return "\\ufffd"
    return _JSON_SHORT.get(character) or f"\\u{ord(character):04x}"


def json_number(value: float) -> str:
    if math.isnan(value) or math.isinf(value):
        raise Unprintable
    return _float(value, lowest=-6, highest=21, exponent_digits=1)
