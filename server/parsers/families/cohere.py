"""Cohere: a thought, then blocks of text and of actions, each between tags of its own."""

from __future__ import annotations

from typing import Any, Literal

from server.messages.chat import ToolCall, ToolFunction
from server.parsers import json_text
from server.parsers.base import NOTHING, Parsed, StepParser, overlap
from server.parsers.families.opening import Opening
from server.parsers.sections import is_begun

THINKING = ("<|START_THINKING|>", "<|END_THINKING|>")
TEXT = ("<|START_TEXT|>", "<|END_TEXT|>")
RESPONSE = ("<|START_RESPONSE|>", "<|END_RESPONSE|>")
ACTION = ("<|START_ACTION|>", "<|END_ACTION|>")
END_OF_TURN = "<|END_OF_TURN_TOKEN|>"
VISIBLE = (*THINKING, *TEXT, *ACTION, *RESPONSE)
BLOCKS = (TEXT[0], RESPONSE[0], ACTION[0])
TEXT_ENDS = (TEXT[1], RESPONSE[1], END_OF_TURN)

State = Literal["thinking", "hidden", "between", "bare", "text", "action"]


def start(opening: Opening) -> CohereParser:
    """An answer that the client began stands in a block of text, which the prompt has opened."""
    if is_begun(opening.last) or opening.prompt.endswith(TEXT[0]):
        return CohereParser("text", hides_thought=False)
    is_thinking = opening.begins_with_thought(True, THINKING)
    return CohereParser("thinking" if is_thinking else "between", hides_thought=not is_thinking)


class CohereParser(StepParser):
    """thinking · between blocks · text of a block · an action · bare text that is in no block. `hides_thought`: one
    that the model opens although it was not asked to is nobody's."""

    def __init__(self, state: State, hides_thought: bool) -> None:
        super().__init__()
        self._state: State = state
        self._hides_thought = hides_thought
        self._searched = 0
        self._made = 0

    def flush(self) -> Parsed:
        held, self._held = self._held, ""
        match self._state:
            case "thinking":
                return Parsed(thinking=held.rstrip()) if held.strip() else NOTHING
            case "action":
                calls = self._calls(held)
                return Parsed(tool_calls=calls) if calls else Parsed(ACTION[0] + held)
            case "hidden":
                return NOTHING
            case "between":
                return Parsed(held) if held.strip() else NOTHING
        return Parsed(held)

    def _step(self) -> Parsed | None:
        match self._state:
            case "thinking" | "hidden":
                return self._thinking()
            case "between":
                return self._between()
            case "bare":
                return self._until(BLOCKS, keeps_tag=True)
            case "text":
                return self._until(TEXT_ENDS, keeps_tag=False)
            case "action":
                return self._action()

    def _thinking(self) -> Parsed | None:
        thought, found, rest = self._held.partition(THINKING[1])
        is_hidden = self._state == "hidden"
        if found:
            self._held, self._state = rest, "between"
            return NOTHING if is_hidden else Parsed(thinking=thought.rstrip())
        end = len(self._held) - overlap(self._held, THINKING[1])
        thought = self._held[:end].rstrip()
        self._held = self._held[len(thought) :]
        return (NOTHING if is_hidden else Parsed(thinking=thought)) if thought else None

    def _between(self) -> Parsed | None:
        """White space between blocks means nothing."""
        self._held = self._held.lstrip()
        tags = (*BLOCKS, THINKING[0]) if self._hides_thought else BLOCKS
        for tag in tags:
            if self._held.startswith(tag):
                self._held, self._searched = self._held[len(tag) :], 0
                self._state = "action" if tag == ACTION[0] else "hidden" if tag == THINKING[0] else "text"
                self._hides_thought = False
                return NOTHING
        if any(tag.startswith(self._held) for tag in tags):
            return None
        self._state, self._hides_thought = "bare", False
        return NOTHING

    def _until(self, tags: tuple[str, ...], keeps_tag: bool) -> Parsed | None:
        held = self._held
        at, tag = min(((held.find(tag), tag) for tag in tags if tag in held), default=(-1, ""))
        if at >= 0:
            self._held = held[at if keeps_tag else at + len(tag) :]
            self._state = "between"
            return Parsed(held[:at])
        end = len(held) - max(overlap(held, tag) for tag in tags)
        self._held = held[end:]
        return Parsed(held[:end]) if end else None

    def _action(self) -> Parsed | None:
        at = self._held.find(ACTION[1], max(0, self._searched - len(ACTION[1])))
        if at < 0:
            self._searched = len(self._held)
            return None
        body, self._held = self._held[:at], self._held[at + len(ACTION[1]) :]
        self._state = "between"
        return Parsed(tool_calls=self._calls(body))

    def _calls(self, body: str) -> tuple[ToolCall, ...]:
        """The objects in a body that are calls, whatever stands between them."""
        scanner = json_text.ObjectScanner()
        calls: list[ToolCall] = []
        while (end := scanner.scan(body)) >= 0:
            try:
                value = json_text.read(body[scanner.start : end])
            except ValueError:
                continue
            call = self._call(value)
            if call:
                calls.append(call)
        return tuple(calls)

    def _call(self, value: dict[str, Any]) -> ToolCall | None:
        name, given, identifier = value.get("tool_name"), value.get("parameters"), value.get("tool_call_id")
        arguments = {} if given is None else given
        if not name or not isinstance(name, str) or not isinstance(arguments, dict):
            return None
        function = ToolFunction(name=name, arguments=arguments, index=self._made)
        self._made += 1
        return ToolCall(id="" if identifier is None else str(identifier), function=function)
