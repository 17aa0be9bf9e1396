"""Go's words for a syntax error. Only read when a body could not be: the standard decoder's words are others."""

from __future__ import annotations

import re

TOO_DEEP = "exceeded max depth"

_PLAIN_TEXT = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = b"0123456789abcdefABCDEF"
_DIGITS = re.compile(rb"[0-9]*")
_BLANKS = re.compile(rb"[ \t\r\n]*")
_LITERALS = {b"t": b"true", b"f": b"false", b"n": b"null"}
_CUT_OFF = "unexpected EOF"


class _Unexpected(Exception):
    """The sentence."""


def syntax_error(body: bytes) -> str:
    """Why Go would not read `body`; "invalid JSON" if it would."""
    try:
        _Scanner(body).scan()
    except _Unexpected as error:
        return str(error)
    except RecursionError:
        return TOO_DEEP
    return "invalid JSON"


class _Scanner:
    """Walks one value. `_open` holds the brackets that are still open."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0
        self._open: list[bytes] = []

    def scan(self) -> None:
        self._value(self._next())
        while self._open:
            if self._open[-1] == b"{":
                self._after_pair()
            else:
                self._after_element()

    def _next(self) -> bytes:
        """The next byte that is not blank."""
        match = _BLANKS.match(self._body, self._at)
        self._at = match.end() if match else self._at
        return self._byte()

    def _byte(self) -> bytes:
        if self._at >= len(self._body):
            raise _Unexpected(_CUT_OFF)
        self._at += 1
        return self._body[self._at - 1 : self._at]

    def _wrong(self, byte: bytes, where: str) -> _Unexpected:
        return _Unexpected(f"invalid character {_quoted(byte)} {where}")

    def _value(self, byte: bytes) -> None:
        """Reads a value that begins with `byte`; of an object or array only the beginning, up to its first item."""
        if byte == b'"':
            self._string()
        elif byte == b"{":
            self._open.append(byte)
            self._first_pair()
        elif byte == b"[":
            self._open.append(byte)
            byte = self._next()
            if byte == b"]":
                self._open.pop()
            else:
                self._value(byte)
        elif byte == b"-" or byte.isdigit():
            self._number(byte)
        elif byte in _LITERALS:
            self._literal(_LITERALS[byte])
        else:
            raise self._wrong(byte, "looking for beginning of value")

    def _first_pair(self) -> None:
        byte = self._next()
        if byte == b"}":
            self._open.pop()
        else:
            self._pair(byte)

    def _pair(self, byte: bytes) -> None:
        if byte != b'"':
            raise self._wrong(byte, "looking for beginning of object key string")
        self._string()
        byte = self._next()
        if byte != b":":
            raise self._wrong(byte, "after object key")
        self._value(self._next())

    def _after_pair(self) -> None:
        byte = self._next()
        if byte == b"}":
            self._open.pop()
        elif byte == b",":
            self._pair(self._next())
        else:
            raise self._wrong(byte, "after object key:value pair")

    def _after_element(self) -> None:
        byte = self._next()
        if byte == b"]":
            self._open.pop()
        elif byte == b",":
            self._value(self._next())
        else:
            raise self._wrong(byte, "after array element")

    def _string(self) -> None:
        while True:
            match = _PLAIN_TEXT.match(self._body, self._at)
            self._at = match.end() if match else self._at
            byte = self._byte()
            if byte == b'"':
                return
            if byte != b"\\":
                raise self._wrong(byte, "in string literal")
            byte = self._byte()
            if byte == b"u":
                for _ in range(4):
                    digit = self._byte()
                    if digit not in _HEX:
                        raise self._wrong(digit, "in \\u hexadecimal character escape")
            elif byte not in b'"\\/bfnrt':
                raise self._wrong(byte, "in string escape code")

    def _literal(self, word: bytes) -> None:
        for expected in word[1:]:
            byte = self._byte()
            if byte[0] != expected:
                raise self._wrong(byte, f"in literal {word.decode()} (expecting {_quoted(bytes([expected]))})")

    def _number(self, byte: bytes) -> None:
        if byte == b"-":
            byte = self._digit("in numeric literal")
        if byte != b"0":
            self._skip_digits()
        if self._body[self._at : self._at + 1] == b".":
            self._at += 1
            self._digit("after decimal point in numeric literal")
            self._skip_digits()
        if self._body[self._at : self._at + 1] in (b"e", b"E"):
            self._at += 1
            if self._body[self._at : self._at + 1] in (b"+", b"-"):
                self._at += 1
            self._digit("in exponent of numeric literal")
            self._skip_digits()

    def _digit(self, where: str) -> bytes:
        byte = self._byte()
        if not byte.isdigit():
            raise self._wrong(byte, where)
        return byte

    def _skip_digits(self) -> None:
        match = _DIGITS.match(self._body, self._at)
        self._at = match.end() if match else self._at


_NAMED = {b"'": r"'\''", b'"': "'\"'", b"\\": r"'\\'"} | {
    bytes([code]): f"'\\{letter}'" for code, letter in zip(b"\a\b\f\n\r\t\v", "abfnrtv", strict=True)
}


def _quoted(byte: bytes) -> str:
    """A byte as Go prints it between quotes."""
    if byte in _NAMED:
        return _NAMED[byte]
    character = byte.decode("latin-1")
    if character.isprintable():
        return f"'{character}'"
    return f"'\\x{byte[0]:02x}'" if byte[0] < 0x80 else f"'\\u{byte[0]:04x}'"
