"""Harmony, the format of gpt-oss: messages with a channel and perhaps a recipient.

The publisher's own library, openai-harmony, is not used: it reads token ids by a vocabulary file that it downloads when
it is first needed (its issues 95 and 101), and a server that works offline has none. What it would read is text here.
"""

from __future__ import annotations

from typing import Literal

from server.messages.chat import ToolCall, ToolFunction
from server.messages.identifiers import identifiers
from server.parsers import json_text
from server.parsers.base import NOTHING, BrokenCall, Parsed, StepParser, overlap
from server.parsers.families.opening import Opening
from server.parsers.tools import function_names

START, MESSAGE, END, CALL = "<|start|>", "<|message|>", "<|end|>", "<|call|>"
CHANNEL, CONSTRAIN = "<|channel|>", "<|constrain|>"
VISIBLE = (START, END, MESSAGE, CHANNEL, CONSTRAIN)
MAX_HEADER_CHARACTERS = 512

Mode = Literal["content", "thinking", "call"]


def start(opening: Opening) -> HarmonyParser:
    parser = HarmonyParser({shown: name for name, shown in identifiers(function_names(opening.tools)).items()})
    last = opening.last
    if last and last.role == "assistant" and last.content:
        parser.go_on("content")
    elif last and last.role == "assistant" and last.thinking:
        parser.go_on("thinking")
    return parser


class HarmonyParser(StepParser):
    """`names`: identifiers to the names of the request's tools.

    header   up to `<|message|>`; the first one begins with the role that ends the prompt
    body     up to `<|end|>`
    between  up to the next `<|start|>`; what stands there is nobody's
    """

    def __init__(self, names: dict[str, str]) -> None:
        super().__init__()
        self._names = names
        self._state: Literal["header", "body", "between"] = "header"
        self._mode: Mode = "content"
        self._recipient = ""
        self._role = "assistant"
        self._body: list[str] = []
        self._made = 0

    def go_on(self, mode: Mode) -> None:
        """Continue a message that the client began."""
        self._state, self._mode = "body", mode

    def flush(self) -> Parsed:
        """Raises BrokenCall."""
        self._raise()
        result = NOTHING
        held, self._held = self._held, ""
        if self._state == "header" and held.strip():
            result = Parsed(held)
        elif self._state == "body":
            result = self._said(held) + self._end_of_message()
            self._state = "between"
        self._raise()
        return result

    def _step(self) -> Parsed | None:
        match self._state:
            case "header":
                return self._header()
            case "body":
                return self._read_body()
            case "between":
                return self._between()

    def _header(self) -> Parsed | None:
        header, found, rest = self._held.partition(MESSAGE)
        if found:
            self._held, self._state = rest, "body"
            self._begin(self._role + header)
            return NOTHING
        if len(self._held) <= MAX_HEADER_CHARACTERS:
            return None
        self._state = "body"  # no header is that long: the model has left the format
        return NOTHING

    def _begin(self, header: str) -> None:
        header = header.replace(CONSTRAIN, f" {CONSTRAIN}", 1)
        before, has_channel, after = header.partition(CHANNEL)
        words = after.split(None, 1) if has_channel and after[:1].strip() else ["", after]
        channel, rest = words[0], words[1] if len(words) > 1 else ""
        recipient = _recipient(f"{before} {rest}" if has_channel else header)
        if recipient and channel in ("analysis", "commentary"):
            self._mode, self._recipient = "call", recipient
        elif channel == "analysis":
            self._mode = "thinking"
        elif channel in ("commentary", "final"):
            self._mode = "content"

    def _read_body(self) -> Parsed | None:
        ends = (END, CALL) if self._mode == "call" else (END,)
        at, tag = min(((self._held.find(tag), tag) for tag in ends if tag in self._held), default=(-1, ""))
        if at >= 0:
            text, self._held = self._held[:at], self._held[at + len(tag) :]
            result = self._said(text) + self._end_of_message()
            self._state, self._mode = "between", "content"
            return result
        end = len(self._held) - max(overlap(self._held, tag) for tag in ends)
        text, self._held = self._held[:end], self._held[end:]
        return self._said(text) if text else None

    def _said(self, text: str) -> Parsed:
        if self._mode == "call":
            self._body.append(text)
            return NOTHING
        return Parsed(thinking=text) if self._mode == "thinking" else Parsed(text)

    def _end_of_message(self) -> Parsed:
        if self._mode != "call":
            return NOTHING
        body = "".join(self._body)
        self._body.clear()
        name = self._recipient.removeprefix("functions.")
        try:
            arguments = json_text.read(body) if body.strip() else {}
            if not isinstance(arguments, dict):
                raise ValueError("the arguments are no object")
        except ValueError as error:
            self._error = BrokenCall(f"error parsing tool call: raw='{body}', err={error}", body)
            return NOTHING
        function = ToolFunction(name=self._names.get(name, name), arguments=arguments, index=self._made)
        self._made += 1
        return Parsed(tool_calls=(ToolCall(function=function),))

    def _between(self) -> Parsed | None:
        _, found, rest = self._held.partition(START)
        if not found:
            self._held = self._held[len(self._held) - overlap(self._held, START) :]
            return None
        self._held, self._state, self._role = rest, "header", ""
        return NOTHING


def _recipient(words: str) -> str:
    """Whom a message is for: `to=` is the first word, the second, or glued to the role."""
    split = words.split()
    for word in split[:2]:
        if word.startswith("to="):
            return word.removeprefix("to=")
    glued = split[0] if split else ""
    return glued.removeprefix("assistantto=") if glued.startswith("assistantto=") else ""
