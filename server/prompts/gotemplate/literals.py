"""Constants as a template writes them."""

from __future__ import annotations

import re

INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1

_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\])|(?P<quote>['\"])|x(?P<byte>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))"
)
_GROUPED = re.compile(r"[+-]?(?:0[xX]_?[0-9a-fA-F]+|0[oO]_?[0-7]+|0[bB]_?[01]+|[0-9]+)(?:_[0-9a-fA-F]+)*")
_HEX_FLOAT = re.compile(r"[+-]?0[xX][0-9a-fA-F_]*\.?[0-9a-fA-F_]*[pP][+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?(?:[0-9](?:_?[0-9])*\.?(?:[0-9](?:_?[0-9])*)?|\.[0-9](?:_?[0-9])*)(?:[eE][+-]?[0-9]+)?")


def unquote(text: str) -> str:
    """The value of a quoted or raw string with its quotes. Raises ValueError.

    Bytes that are no UTF-8 are kept as lone surrogates (surrogateescape).
    """
    if text.startswith("`"):
        return text[1:-1].replace("\r", "")
    return _unescape(text[1:-1], text[0])


def character(text: str) -> int:
    """The code point of a character constant with its quotes. Raises ValueError."""
    body = text[1:-1]
    escape = _ESCAPE.fullmatch(body)
    if escape and (byte := escape["byte"] or escape["octal"]):
        return int(byte, 16 if escape["byte"] else 8)
    value = _unescape(body, "'")
    if len(value) != 1:
        raise ValueError(f"malformed character constant: {text}" if value else "invalid syntax")
    return ord(value)


def _unescape(body: str, quote: str) -> str:
    if "\\" not in body:
        return body
    pieces: list[bytes] = []
    at = 0
    while at < len(body):
        if body[at] != "\\":
            stop = body.find("\\", at)
            stop = stop if stop >= 0 else len(body)
            pieces.append(to_bytes(body[at:stop]))
            at = stop
            continue
        match = _ESCAPE.match(body, at)
        if match is None:
            raise ValueError("invalid syntax")
        pieces.append(_escaped(match, quote))
        at = match.end()
    return to_text(b"".join(pieces))


def _escaped(match: re.Match[str], quote: str) -> bytes:
    if match["simple"]:
        return bytes([_ESCAPES[match["simple"]]])
    if match["quote"]:
        if match["quote"] != quote:
            raise ValueError("invalid syntax")
        return match["quote"].encode()
    if match["byte"] or match["octal"]:
        value = int(match["byte"], 16) if match["byte"] else int(match["octal"], 8)
        if value > 255:
            raise ValueError("invalid syntax")
        return bytes([value])
    point = int(match["short"] or match["long"], 16)
    if point > 0x10FFFF or 0xD800 <= point < 0xE000:
        raise ValueError("invalid syntax")
    return chr(point).encode()


def number(text: str) -> int | float | complex:
    """The value of a number. Raises ValueError."""
    if text.endswith("i"):
        return _imaginary(text[:-1])
    if (whole := _whole(text)) is not None:
        if not INT64_MIN <= whole <= UINT64_MAX:
            raise ValueError(f'integer overflow: "{text}"')
        return whole
    value = _fraction(text)
    if not any(sign in text for sign in ".eEpP"):
        raise ValueError(f'integer overflow: "{text}"')
    return value


def _imaginary(text: str) -> complex:
    cut = max(text.rfind("+"), text.rfind("-"))
    while cut > 0 and text[cut - 1] in "eEpP":
        cut = max(text.rfind("+", 0, cut), text.rfind("-", 0, cut))
    real, imaginary = (text[:cut], text[cut:]) if cut > 0 else ("", text)
    return complex(float(number(real)).real if real else 0.0, float(number(imaginary)))  # type: ignore[arg-type]


def _whole(text: str) -> int | None:
    """A whole number, or None where it is none. Underscores may stand between digits and behind a base."""
    if not _GROUPED.fullmatch(text):
        return None
    digits = text.lstrip("+-").replace("_", "").lower()
    try:
        value = int(digits, 8) if len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal() else int(digits, 0)
    except ValueError:
        return None
    return -value if text.startswith("-") else value


def _fraction(text: str) -> float:
    try:
        if _HEX_FLOAT.fullmatch(text):
            value = float.fromhex(text.replace("_", ""))
        elif _FLOAT.fullmatch(text):
            value = float(text.replace("_", ""))
        else:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f'illegal number syntax: "{text}"') from None
    if value in (float("inf"), float("-inf")):
        raise ValueError(f'illegal number syntax: "{text}"')
    return value


def to_bytes(text: str) -> bytes:
    """The bytes of a text; lone surrogates that stand for bytes become these bytes again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def to_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
