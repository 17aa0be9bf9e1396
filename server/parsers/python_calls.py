"""Calls as Python writes them: `name(key="text", other=2)`."""

from __future__ import annotations

import re
from typing import Any

from server.parsers import json_text
from server.parsers.sections import BadCall, Call
from server.parsers.typed_values import number

_CALL = re.compile(r"([^\W\d][\w.-]*)\s*\(")
_KEY = re.compile(r"\s*([^\W\d][\w-]*)\s*=\s*")
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"[+-]?(?:[0-9](?:_?[0-9])*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "none": None, "nil": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_CLOSERS = {"(": ")", "[": "]", "{": "}"}
MAX_DEPTH = 64


class CallReader:
    """Reads a whole text. `unescapes`: whether backslashes in strings mean what they do in Python."""

    def __init__(self, text: str, unescapes: bool) -> None:
        self._text = text
        self._unescapes = unescapes
        self._at = 0

    def calls(self) -> list[Call]:
        """All calls, with commas, line breaks or brackets round them. Raises BadCall."""
        found: list[Call] = []
        self._skip(" \t\r\n[,;")
        while self._at < len(self._text):
            found.append(self._call())
            self._skip(" \t\r\n,;]")
        if not found:
            raise BadCall("no call")
        return found

    def _skip(self, characters: str) -> None:
        while self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1

    def _call(self) -> Call:
        match = _CALL.match(self._text, self._at)
        if match is None:
            raise BadCall(f"no call at {self._text[self._at : self._at + 20]!r}")
        self._at = match.end()
        arguments: dict[str, Any] = {}
        while True:
            self._skip(" \t\r\n,")
            if self._text.startswith(")", self._at):
                self._at += 1
                return match[1], arguments
            key = _KEY.match(self._text, self._at)
            if key is None:
                raise BadCall(f"no argument at {self._text[self._at : self._at + 20]!r}")
            self._at = key.end()
            arguments[key[1]] = self._value(",)", 0)

    def _value(self, ends: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise BadCall("lists within lists too deep")
        first = self._text[self._at : self._at + 1]
        if first and first in "\"'":
            value: Any = self._string(first, ends, self._unescapes or depth > 0)
        elif first == "[":
            value = self._list(depth)
        elif first == "{":
            value = self._mapping(depth)
        else:
            return self._bare(ends)
        self._skip(" \t\r\n")
        if self._text[self._at : self._at + 1] not in tuple(ends):
            raise BadCall(f"something behind a value: {self._text[self._at : self._at + 20]!r}")
        return value

    def _string(self, quote: str, ends: str, unescapes: bool) -> str:
        """A quote that nothing but a value follows is part of the text."""
        start = at = self._at + 1
        while at < len(self._text):
            if self._text[at] == quote and self._is_followed_by(at + 1, ends):
                break
            at += 2 if self._text[at] == "\\" else 1
        if at >= len(self._text):
            raise BadCall("a string without an end")
        self._at = at + 1
        raw = self._text[start:at]
        if not unescapes:
            return raw
        return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), raw, flags=re.DOTALL)

    def _is_followed_by(self, at: int, ends: str) -> bool:
        match = _SPACE.match(self._text, at)
        end = match.end() if match else at
        return self._text[end : end + 1] in tuple(ends)

    def _list(self, depth: int) -> list[Any]:
        self._at += 1
        items: list[Any] = []
        while True:
            self._skip(" \t\r\n,")
            if self._text.startswith("]", self._at):
                self._at += 1
                return items
            if self._at >= len(self._text):
                raise BadCall("a list without an end")
            items.append(self._value(",]", depth + 1))

    def _mapping(self, depth: int) -> dict[str, Any]:
        self._at += 1
        items: dict[str, Any] = {}
        while True:
            self._skip(" \t\r\n,")
            if self._text.startswith("}", self._at):
                self._at += 1
                return items
            if self._at >= len(self._text):
                raise BadCall("a mapping without an end")
            key = self._value(":", depth + 1)
            if not self._text.startswith(":", self._at):
                raise BadCall("a key without a value")
            self._at += 1
            self._skip(" \t\r\n")
            items[key if isinstance(key, str) else str(key)] = self._value(",}", depth + 1)

    def _bare(self, ends: str) -> Any:
        """A word or number up to one of `ends`, outside brackets and quotes."""
        start, open_brackets = self._at, ""
        while self._at < len(self._text):
            character = self._text[self._at]
            if not open_brackets and character in ends:
                break
            if character in _CLOSERS:
                open_brackets += _CLOSERS[character]
            elif open_brackets.endswith(character):
                open_brackets = open_brackets[:-1]
            self._at += 1
        if self._at >= len(self._text) or len(open_brackets) > MAX_DEPTH:
            raise BadCall("a value without an end")
        return bare_value(self._text[start : self._at].strip())


def bare_value(text: str) -> Any:
    """A word or number without quotes; anything else is its text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _NUMBER.fullmatch(text):
        return number(text) if not any(sign in text for sign in ".eE") else json_text.finite_or_text(text)
    return text
