"""Calls that a model writes into its text, without the tags of calls, of a tool that the request declares.

Only what can still become such a call is held back: text with braces comes as fast as any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from server.messages.chat import ToolCall, ToolFunction
from server.parsers import json_text
from server.parsers.base import NOTHING, AnswerParser, Parsed, StepParser, overlap
from server.parsers.sections import BadCall, Call

USER = ("<user>", "</user>")
MAX_HEAD_CHARACTERS = 512  # of an object, up to where its arguments begin
_START = re.compile(r"\{|<user>")
_NAME = re.compile(r"\s*([^\s<{]*)")

Found = tuple[int, list[Call]]


class UntaggedCalls(StepParser):
    """`<user>NAME…</user>` and `{"name": "NAME", "arguments": {…}}`. `read`: the calls in a body; raises BadCall."""

    def __init__(self, names: Iterable[str], read: Callable[[str], list[Call]]) -> None:
        super().__init__()
        self._names = tuple(names)
        self._heads = tuple(f'{{"name":"{name}","arguments":{{' for name in self._names)
        self._read = read
        self._skips_space = False
        self._scanner: json_text.ObjectScanner | None = None  # of the object that `_held` begins with

    def flush(self) -> Parsed:
        held, self._held = self._held, ""
        return Parsed(held) if held.strip() else NOTHING

    def _step(self) -> Parsed | None:
        if self._skips_space:
            self._held = self._held.lstrip()
            self._skips_space = not self._held
        match = _START.search(self._held)
        if match is None:
            return self._said(len(self._held) - overlap(self._held, USER[0]))
        at = match.start()
        if said := self._said(at):
            return said
        at = len(self._held) - len(self._held.lstrip())
        found = self._object(at) if match[0] == "{" else self._user(at + len(USER[0]))
        if found == "wait":
            return None
        self._scanner = None
        if found == "no":
            text, self._held = self._held[: at + 1], self._held[at + 1 :]
            return Parsed(text)
        end, calls = found
        self._held, self._skips_space = self._held[end:], True
        functions = (ToolFunction(name=name, arguments=arguments) for name, arguments in calls)
        return Parsed(tool_calls=tuple(ToolCall(function=function) for function in functions))

    def _said(self, end: int) -> Parsed | None:
        """The text up to `end`, but for white space, which a call behind it would drop."""
        text = self._held[:end].rstrip()
        if not text:
            return None
        self._held, self._scanner = self._held[len(text) :], None
        return Parsed(text)

    def _object(self, at: int) -> Found | Literal["wait", "no"]:
        head = "".join(self._held[at : at + MAX_HEAD_CHARACTERS].split())
        if not any(known.startswith(head[: len(known)]) for known in self._heads):
            return "no"
        self._scanner = self._scanner or json_text.ObjectScanner(at)
        end = self._scanner.scan(self._held)
        return "wait" if end < 0 else self._calls(self._held[at:end], end)

    def _user(self, at: int) -> Found | Literal["wait", "no"]:
        match = _NAME.match(self._held, at)
        name = match[1] if match else ""
        is_whole = match is not None and match.end() < len(self._held)
        if not (name in self._names if is_whole else any(known.startswith(name) for known in self._names)):
            return "no"
        end = self._held.find(USER[1], at)
        return "wait" if end < 0 else self._calls(self._held[at:end], end + len(USER[1]))

    def _calls(self, body: str, end: int) -> Found | Literal["no"]:
        try:
            calls = self._read(body)
        except BadCall:
            return "no"
        return (end, calls) if calls else "no"


class Numbered:
    """Calls of several parsers, counted together."""

    def __init__(self, parser: AnswerParser) -> None:
        self._parser = parser
        self._made = 0

    def feed(self, text: str) -> Parsed:
        return self._counted(self._parser.feed(text))

    def flush(self) -> Parsed:
        return self._counted(self._parser.flush())

    def _counted(self, parsed: Parsed) -> Parsed:
        calls = []
        for call in parsed.tool_calls:
            function = msgspec.structs.replace(call.function, index=self._made)
            calls.append(msgspec.structs.replace(call, function=function))
            self._made += 1
        return Parsed(parsed.content, parsed.thinking, tuple(calls))
