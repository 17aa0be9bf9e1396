"""Ministral: `[TOOL_CALLS]NAME[ARGS]{…}` without an end tag, and thoughts between `[THINK]` and `[/THINK]`."""

from __future__ import annotations

from typing import Any, Literal

from server.messages.chat import ToolCall, ToolFunction
from server.parsers import json_text
from server.parsers.base import NOTHING, BrokenCall, Parsed, StepParser, overlap
from server.parsers.families.opening import Opening

CALL, ARGUMENTS = "[TOOL_CALLS]", "[ARGS]"
THINK, END_THINK = "[THINK]", "[/THINK]"
VISIBLE = (CALL, THINK, END_THINK, ARGUMENTS)


def start(opening: Opening) -> MinistralParser:
    return MinistralParser()


class MinistralParser(StepParser):
    def __init__(self) -> None:
        super().__init__()
        self._state: Literal["content", "thinking", "call"] = "content"
        self._skips_space = False
        self._scanner: json_text.ObjectScanner | None = None
        self._made = 0

    def flush(self) -> Parsed:
        """Raises BrokenCall."""
        self._raise()
        held, self._held = self._held, ""
        if self._state == "call":
            return Parsed(CALL + held)
        if self._state == "thinking":
            return Parsed(thinking=held)
        return Parsed(held.rstrip()) if held.strip() else NOTHING

    def _step(self) -> Parsed | None:
        match self._state:
            case "content":
                return self._content()
            case "thinking":
                return self._thinking()
            case "call":
                return self._call()

    def _skip(self) -> None:
        if self._skips_space:
            self._held = self._held.lstrip()
            self._skips_space = not self._held

    def _content(self) -> Parsed | None:
        self._skip()
        held = self._held
        at, tag = min(((held.find(tag), tag) for tag in (CALL, THINK) if tag in held), default=(-1, ""))
        if at < 0:
            end = len(held) - max(overlap(held, CALL), overlap(held, THINK))
            text = held[:end].rstrip()
            self._held = held[len(text) :]
            return Parsed(text) if text else None
        self._held = held[at + len(tag) :]
        self._state = "call" if tag == CALL else "thinking"
        self._scanner = None
        return Parsed(held[:at].rstrip())

    def _thinking(self) -> Parsed | None:
        thought, found, rest = self._held.partition(END_THINK)
        if found:
            self._state, self._held, self._skips_space = "content", rest, True
            return Parsed(thinking=thought)
        end = len(self._held) - overlap(self._held, END_THINK)
        thought, self._held = self._held[:end], self._held[end:]
        return Parsed(thinking=thought) if thought else None

    def _call(self) -> Parsed | None:
        """`NAME[ARGS]` and an object."""
        if self._scanner is None:
            at = self._held.find(ARGUMENTS)
            if at < 0:
                return None
            self._scanner = json_text.ObjectScanner(at + len(ARGUMENTS))
        end = self._scanner.scan(self._held)
        if self._scanner.start < 0 and self._held.partition(ARGUMENTS)[2].lstrip().startswith("["):
            self._error = BrokenCall("the arguments of a call are a list instead of an object", CALL + self._held)
            self._state, self._held = "content", ""
        if end < 0 or self._error:
            return None
        name, _, body = self._held[:end].partition(ARGUMENTS)
        self._held = self._held[end:]
        self._state, self._skips_space = "content", False
        try:
            arguments: Any = json_text.read(body)
        except ValueError as error:
            words = f"the arguments of a call to {name.strip()} are no JSON: {error}"
            self._error = BrokenCall(words, f"{CALL}{name}{ARGUMENTS}{body}")
            return NOTHING
        function = ToolFunction(name=name.strip(), arguments=arguments, index=self._made)
        self._made += 1
        return Parsed(tool_calls=(ToolCall(function=function),))
