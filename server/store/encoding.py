"""JSON as the model folder holds it: digests of stored files depend on every byte.

Compact, keys in the order given, HTML's three characters and U+2028/2029 escaped, integral floats without a fraction,
exponents only below 1e-6 and from 1e21; every file ends with a newline.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def encode(value: Any) -> bytes:
    """One line of JSON and a newline. Raises ValueError for a number that JSON cannot hold."""
    return (_text(value) + "\n").encode("utf-8", "replace")


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_string(str(key))}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float):
        return number_text(value)
    return json.dumps(value)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).translate(_ESCAPES)


def number_text(value: float) -> str:
    """The shortest decimal that reads back as `value`."""
    if not math.isfinite(value):
        raise ValueError("a number that is infinite or not a number cannot be stored")
    size = abs(value)
    digits, _, exponent = repr(value).partition("e")
    if size and (size < 1e-6 or size >= 1e21):
        if not exponent:
            return digits
        return f"{digits.removesuffix('.0')}e{'-' if exponent[0] == '-' else '+'}{int(exponent.lstrip('+-'))}"
    if exponent:
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    return digits.removesuffix(".0")


def shortest_float32(value: float) -> float:
    """The shortest decimal that is the same 32-bit float, so that 0.7 does not come back as 0.699999988."""
    if not math.isfinite(value) or value == int(value):
        return value
    packed = struct.pack("<f", value)
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == packed:
            return short
    return value
