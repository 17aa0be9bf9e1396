"""JSON bodies as Go's decoder reads them, and its words for a syntax error.

Clients were written against a Go server: the first value counts and what follows is ignored, invalid UTF-8 becomes
U+FFFD, an object keeps all its members in order (names match without case, later members win, and which error is
reported depends on the order). The standard decoder does all of that; only when it fails is the text scanned again,
byte by byte, for the sentence.
"""

from __future__ import annotations

import json
import re
from typing import Any

from server.api.json_errors import TOO_DEEP, syntax_error
from server.errors import InvalidRequest

MAX_DEPTH = 200  # deeper values exhaust the stack of whoever walks them; no client comes near
_WHITESPACE = b" \t\r\n"
_SURROGATE = re.compile("[\ud800-\udfff]")


class Members(list[tuple[str, Any]]):
    """An object: its members in the order of the document, duplicates included."""


class Fraction(float):
    """A number that is not written as an integer; `text` is how it was written."""

    text: str

    @classmethod
    def read(cls, text: str) -> Fraction:
        value = cls(text)
        value.text = text
        return value


def _refuse_constant(text: str) -> Any:
    raise ValueError(text)  # NaN and Infinity are Python's addition


def _read_integer(text: str) -> int | Fraction:
    # int() refuses thousands of digits; such a number is out of every range anyway.
    return int(text) if len(text) < 400 else Fraction.read(text)


_decoder = json.JSONDecoder(
    object_pairs_hook=Members,
    parse_float=Fraction.read,
    parse_int=_read_integer,
    parse_constant=_refuse_constant,
)


def parse(body: bytes) -> Any:
    """The first value of a body. Raises InvalidRequest with the decoder's sentence."""
    stripped = body.lstrip(_WHITESPACE)
    if not stripped:
        raise InvalidRequest("missing request body")
    try:
        value, _ = _decoder.raw_decode(stripped.decode("utf-8", "replace"))
        # An escape can name half of a surrogate pair, which no encoder takes later.
        return _whole_characters(value) if b"\\ud" in stripped or b"\\uD" in stripped else value
    except RecursionError:
        raise InvalidRequest(TOO_DEEP) from None
    except ValueError:
        raise InvalidRequest(syntax_error(stripped)) from None


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, Members):
        return Members((_SURROGATE.sub("\ufffd", name), _whole_characters(item)) for name, item in value)
    return [_whole_characters(item) for item in value] if isinstance(value, list) else value


def plain(value: Any, depth: int = 0) -> Any:
    """A free-form value as ordinary dicts, lists and numbers; of equal names the last one stays."""
    if depth > MAX_DEPTH:
        raise InvalidRequest(TOO_DEEP)
    if isinstance(value, Members):
        return {name: plain(item, depth + 1) for name, item in value}
    if isinstance(value, list):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, Fraction) or (isinstance(value, int) and not -(2**63) <= value < 2**64):
        return float(value)  # also an integer that no fixed width holds, as Go reads all free numbers
    return value


def kind(value: Any) -> str:
    """What Go calls a value in "cannot unmarshal … into"."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, float)):
        return "number"
    return "object" if isinstance(value, Members) else "array"
