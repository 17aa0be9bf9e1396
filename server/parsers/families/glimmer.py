"""Glimmer: messages with a recipient; calls are ATEM blocks, messages to the tool."""

from __future__ import annotations

import re
from typing import Any, Literal

from server.messages.chat import ToolCall, ToolFunction
from server.parsers.base import NOTHING, BrokenCall, Parsed, StepParser, overlap
from server.parsers.families.opening import Opening
from server.parsers.sections import thinks
from server.parsers.tools import function_names
from server.parsers.typed_values import Types, declared_types, typed

START, MESSAGE, END, END_OF_TURN = "<|start|>", "<|message|>", "<|eom|>", "<|eot|>"
VISIBLE = (START, MESSAGE, END, END_OF_TURN)
BLOCK = ("<atem:function_calls>", "</atem:function_calls>")
PARAMETER = ("<atem:parameter name=", "</atem:parameter>")
MAX_HEADER_CHARACTERS = 512
_HEADER = re.compile(r"\s*(?:<\|start\|>assistant)?\s*(?:to=(\S+))?\s*")
_NEXT = re.compile(r"<\|start\|>assistant to=([^\s<]+)<\|message\|>")
_NEXT_BEGUN = re.compile(r"<\|start\|>assistant to=[^\s<]*(?:<[|a-z>]*)?")
_INVOKE = re.compile(r'\s*<atem:invoke name="([^"]*)">(.*)</atem:invoke>\s*', re.DOTALL)
_PARAMETER = re.compile(r'\s*<atem:parameter name="([^"]*)">(.*?)</atem:parameter>', re.DOTALL)
_STRAY = re.compile(r'(<atem:invoke name="[^">]*)<\|message\|>(?:">)?')


class BadBlock(Exception):
    """A block that is no call; the words say why."""


def start(opening: Opening) -> GlimmerParser:
    return GlimmerParser(
        frozenset(function_names(opening.tools)), declared_types(opening.tools), thinks(opening.think, True)
    )


class GlimmerParser(StepParser):
    """header: up to `<|message|>`; fresh: before content; said: content or thinking, as it comes; block: a call, or
    content that may be one."""

    def __init__(self, declared: frozenset[str], types: Types, shows_thinking: bool) -> None:
        super().__init__()
        self._declared = declared
        self._types = types
        self._shows_thinking = shows_thinking
        self._state: Literal["header", "fresh", "said", "block"] = "header"
        self._tool = ""  # whom a block is for; "" where nobody is named
        self._is_thought = False
        self._scanned = 0  # of a block: all before is no end
        self._searched = 0  # of a parameter: all before does not end it
        self._in_parameter = False
        self._made = 0

    def flush(self) -> Parsed:
        """Raises BrokenCall."""
        self._raise()
        held, self._held = self._held, ""
        if self._state == "header":
            return Parsed(held)
        if self._state == "block":
            self._state = "said"
            result = self._end_of_block(held)
            self._raise()
            return result
        return self._as_said(held)

    def _step(self) -> Parsed | None:
        match self._state:
            case "header":
                return self._header()
            case "fresh":
                return self._fresh()
            case "said":
                return self._said()
            case "block":
                return self._block()

    def _as_said(self, text: str) -> Parsed:
        if not self._is_thought:
            return Parsed(text)
        return Parsed(thinking=text) if self._shows_thinking else NOTHING

    def _resolved(self, name: str) -> str:
        """The declared tool that a recipient means; `ns.fn` means `fn` where `ns` is its own first part."""
        if name in self._declared:
            return name
        space, _, rest = name.partition(".")
        return rest if rest in self._declared and rest.split(".")[0] == space else ""

    # ---- states; None: wait for more ----

    def _header(self) -> Parsed | None:
        header, found, rest = self._held.partition(MESSAGE)
        if not found:
            if len(self._held) <= MAX_HEADER_CHARACTERS:
                return None
            self._state, self._is_thought = "said", False  # no header is that long
            return NOTHING
        match = _HEADER.fullmatch(header)
        recipient = (match[1] or "") if match else ""
        self._held, self._scanned, self._in_parameter = rest, 0, False
        self._is_thought, self._tool = recipient == "self", self._resolved(recipient)
        self._state = "block" if self._tool else "said" if self._is_thought or not self._declared else "fresh"
        return NOTHING

    def _fresh(self) -> Parsed | None:
        """The beginning of content: a block may be a call although it is for nobody."""
        begun = self._held.lstrip()
        if begun.startswith(BLOCK[0]):
            self._state = "block"
        elif BLOCK[0].startswith(begun):
            return None
        else:
            self._state = "said"
        return NOTHING

    def _said(self) -> Parsed | None:
        at, length = self._end_from(0)
        text = self._held[:at]
        if length < 0:
            self._held = self._held[at:]
            return self._as_said(text) if text else None
        self._held, self._state = self._held[at + length :], "header"
        return self._as_said(text)

    def _end_from(self, start: int) -> tuple[int, int]:
        """Where the message ends, and the length of what ends it; with length -1 up to where it surely goes on."""
        held = self._held
        while True:
            found = [(held.find(tag, start), tag) for tag in (END, END_OF_TURN, START)]
            at, tag = min(((at, tag) for at, tag in found if at >= 0), default=(-1, ""))
            if at < 0:
                tail = max(overlap(held[start:], tag) for tag in (END, END_OF_TURN, START))
                return len(held) - tail, -1
            if tag != START:
                return at, len(tag)
            match = _NEXT.match(held, at)
            if match and (match[1] in ("self", "user") or self._resolved(match[1])):
                return at, 0
            begun = _NEXT_BEGUN.match(held, at)
            is_open = held[at:] == (START + "assistant to=")[: len(held) - at] or (begun and begun.end() == len(held))
            if not match and is_open and len(held) - at < MAX_HEADER_CHARACTERS:
                return at, -1
            start = at + len(START)

    def _block(self) -> Parsed | None:
        """Markers inside the values of parameters are text."""
        while True:
            if self._in_parameter:
                closing = self._held.find(PARAMETER[1], max(self._scanned, self._searched - len(PARAMETER[1])))
                self._searched = len(self._held)
                if closing < 0:
                    return None
                self._scanned, self._in_parameter = closing + len(PARAMETER[1]), False
            opening = self._held.find(PARAMETER[0], self._scanned)
            at, length = self._end_from(self._scanned)
            if length >= 0 and (opening < 0 or at < opening):
                block, self._held = self._held[:at], self._held[at + length :]
                self._state = "header"
                return self._end_of_block(block)
            if opening < 0:
                self._scanned = max(self._scanned, min(at, len(self._held) - len(PARAMETER[0])))
                return None
            self._scanned = self._searched = opening
            self._in_parameter = True

    def _end_of_block(self, block: str) -> Parsed:
        try:
            name, arguments = self._parsed(block)
        except BadBlock as error:
            if not self._tool:
                return Parsed(block)
            self._error = BrokenCall(f"the call to {self._tool} cannot be read: {error}", block)
            return NOTHING
        resolved = self._resolved(name)
        if self._tool and resolved != self._tool:
            words = f'Glimmer recipient "{self._tool}" does not match ATEM invoke "{name}"'
            self._error = BrokenCall(words, block)
            return NOTHING
        if not resolved:
            return Parsed(block)
        types = self._types.get(resolved, {})
        values: dict[str, Any] = {key: typed(value, types.get(key, ())) for key, value in arguments}
        function = ToolFunction(name=resolved, arguments=values, index=self._made)
        self._made += 1
        return Parsed(tool_calls=(ToolCall(function=function),))

    def _parsed(self, block: str) -> tuple[str, list[tuple[str, str]]]:
        text = _STRAY.sub(r'\1">', block).strip()
        if not text.startswith(BLOCK[0]) or not text.endswith(BLOCK[1]):
            raise BadBlock("missing ATEM function_calls wrapper")
        invoke = _INVOKE.fullmatch(text[len(BLOCK[0]) : -len(BLOCK[1])])
        if invoke is None:
            raise BadBlock("missing ATEM invoke wrapper")
        at, arguments = 0, []
        while match := _PARAMETER.match(invoke[2], at):
            arguments.append((match[1], match[2]))
            at = match.end()
        if invoke[2][at:].strip():
            raise BadBlock("malformed ATEM parameter")
        return invoke[1], arguments
