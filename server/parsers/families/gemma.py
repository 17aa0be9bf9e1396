"""Gemma 4: `call:NAME{key:<|"|>text<|"|>,other:2}`, and thoughts in a channel."""

from __future__ import annotations

import re
from typing import Any

from server.parsers import json_text
from server.parsers.families.opening import Opening
from server.parsers.sections import BadCall, Call, SectionParser, Sections, thinks
from server.parsers.typed_values import Types, declared_types

CALL_TAGS = ("<|tool_call>", "<tool_call|>")
CHANNEL = ("<|channel>", "<channel|>")
RESPONSE = "<|tool_response>"
QUOTE = '<|"|>'
VISIBLE = (*CHANNEL, *CALL_TAGS, RESPONSE, QUOTE)
MAX_DEPTH = 64
_CALL = re.compile(r"\s*call:\s*([^{]*?)\s*(\{.*)", re.DOTALL)
_KEY = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|(\w+))\s*:\s*', re.DOTALL)
_NEXT_KEY = re.compile(r",\s*\w+\s*:")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?=\s*[,}\]])")
_WORD = re.compile(r"(true|false|null)(?=\s*[,}\]])")
_WORDS = {"true": True, "false": False, "null": None}
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SPACE = re.compile(r"\s*")


def start(opening: Opening) -> SectionParser:
    return _parser(opening, thinks(opening.think, False))


def start_no_thinking(opening: Opening) -> SectionParser:
    return _parser(opening, False)


def _parser(opening: Opening, is_thinking: bool) -> SectionParser:
    types = declared_types(opening.tools)
    sections = Sections(
        read=lambda body: read(body, types),
        finish=lambda body: _finish(body, types),
        call_tags=CALL_TAGS,
        thinking_tags=CHANNEL,
        opening="thought\n",
        calls_end_thoughts=False,
        shows_thinking=is_thinking,
        keeps_end=True,
        keeps_thought_end=True,
        noise_tags=(CALL_TAGS[1], RESPONSE),
        reopens=True,
        on_bad="skip",
    )
    continues = is_thinking and opening.last is not None and opening.last.role == "tool"
    return SectionParser(sections, "thinking" if continues else "content")


def read(body: str, types: Types, repairs: bool = True) -> list[Call]:
    match = _CALL.fullmatch(body)
    if match is None or not match[1]:
        raise BadCall("no call:NAME{…}")
    return [(match[1], _Arguments(match[2].rstrip(), types.get(match[1], {}), repairs).read())]


def _finish(body: str, types: Types) -> list[Call]:
    """A call that breaks off is none."""
    try:
        return read(body, types, repairs=False)
    except BadCall:
        return []


class _Arguments:
    """Reads `{…}`. `repairs`: takes what models often write: texts in single quotes, without an end or without quotes
    where the tool declares a text."""

    def __init__(self, text: str, types: dict[str, tuple[str, ...]], repairs: bool) -> None:
        self._text = text
        self._types = types
        self._repairs = repairs
        self._at = 0

    def read(self) -> dict[str, Any]:
        value = self._object(0)
        if self._text[self._at :].strip():
            raise BadCall("something behind the arguments")
        return value

    def _skip(self) -> str:
        """The next character that is no white space; "" at the end."""
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def _object(self, depth: int) -> dict[str, Any]:
        self._at += 1
        items: dict[str, Any] = {}
        if self._skip() == "}":
            self._at += 1
            return items
        while True:
            key = self._key()
            items[key] = self._value(depth + 1, self._types.get(key, ()) if depth == 0 else ())
            if self._ends("}"):
                return items

    def _ends(self, closer: str) -> bool:
        sign = self._skip()
        if sign not in (",", closer):
            raise BadCall(f"no comma at {self._text[self._at : self._at + 20]!r}")
        self._at += 1
        return sign == closer

    def _key(self) -> str:
        if self._text.startswith(QUOTE, self._at):
            key = self._quoted()
            if self._skip() != ":":
                raise BadCall("a key without a value")
            self._at += 1
            return key
        match = _KEY.match(self._text, self._at)
        if match is None:
            raise BadCall(f"no key at {self._text[self._at : self._at + 20]!r}")
        self._at = match.end()
        return str(json_text.read(f'"{match[1]}"')) if match[1] is not None else match[2]

    def _value(self, depth: int, types: tuple[str, ...]) -> Any:
        if depth > MAX_DEPTH:
            raise BadCall("values within values too deep")
        sign = self._skip()
        if self._text.startswith(QUOTE, self._at):
            return self._quoted()
        if sign == "{":
            return self._object(depth)
        if sign == "[":
            return self._list(depth)
        if match := _WORD.match(self._text, self._at):
            self._at = match.end()
            return _WORDS[match[1]]
        if (match := _NUMBER.match(self._text, self._at)) or (match := _JSON_STRING.match(self._text, self._at)):
            self._at = match.end()
            try:
                return json_text.read(match[0])
            except ValueError as error:
                raise BadCall(str(error)) from None
        if sign == "'" and self._repairs:
            return self._single_quoted()
        return self._unquoted(types)

    def _list(self, depth: int) -> list[Any]:
        self._at += 1
        items: list[Any] = []
        if self._skip() == "]":
            self._at += 1
            return items
        while True:
            items.append(self._value(depth + 1, ()))
            if self._ends("]"):
                return items

    def _quoted(self) -> str:
        start = self._at + len(QUOTE)
        end = self._text.find(QUOTE, start)
        if end >= 0:
            self._at = end + len(QUOTE)
            return self._text[start:end]
        if not self._repairs:
            raise BadCall("a text without an end")
        rest = self._text[start:].removesuffix("}")
        self._text = self._text[:start] + rest + "}"
        self._at = start + len(rest)
        return rest

    def _single_quoted(self) -> str:
        start = self._at + 1
        end = self._text.find("'", start)
        if end < 0:
            raise BadCall("a text without an end")
        self._at = end + 1
        if self._text.startswith(QUOTE, self._at):
            self._at += len(QUOTE)
        return self._text[start:end]

    def _unquoted(self, types: tuple[str, ...]) -> str:
        """A text as it stands, up to the next key or the end."""
        start = self._at
        match = _NEXT_KEY.search(self._text, start)
        end = match.start() if match else self._text.rfind("}")
        text = self._text[start:end].strip()
        if not self._repairs or "string" not in types or not text or not text[0].isalpha() or QUOTE in text:
            raise BadCall(f"no value at {self._text[start : start + 20]!r}")
        self._at = end
        return text
