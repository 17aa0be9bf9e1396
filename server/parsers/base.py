"""What every parser is, and what it gives."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Protocol

import msgspec

from server.errors import InvalidAnswer
from server.messages.chat import ToolCall

log = logging.getLogger(__name__)


class Parsed(msgspec.Struct, frozen=True):
    """What one piece of text made certain. Calls have indexes, but ids only where the model wrote them."""

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.content or self.thinking or self.tool_calls)

    def __add__(self, other: Parsed) -> Parsed:
        return Parsed(
            self.content + other.content, self.thinking + other.thinking, (*self.tool_calls, *other.tool_calls)
        )


NOTHING = Parsed()


class BrokenCall(InvalidAnswer):
    """A call that cannot be read. `unread` is its text; the parser has passed it and can go on."""

    def __init__(self, message: str, unread: str) -> None:
        super().__init__(message)
        self.unread = unread


class AnswerParser(Protocol):
    """Reads one answer from its first to its last piece; the result does not depend on how the text is cut."""

    def feed(self, text: str) -> Parsed:
        """What is certain now. Raises BrokenCall for a call that an earlier piece brought; then `text` is still to be
        fed."""
        ...

    def flush(self) -> Parsed:
        """The rest, at the end of the answer. Raises BrokenCall; then it is still to be flushed."""
        ...


class StepParser(ABC):
    """Reads what it holds step by step. A step gives what it made of the text, None where it has to wait for more. A
    call that a step cannot read is raised with the next piece, so that nothing from before it is lost."""

    def __init__(self) -> None:
        self._held = ""
        self._error: BrokenCall | None = None

    def feed(self, text: str) -> Parsed:
        """Raises BrokenCall for a call that an earlier piece brought."""
        self._raise()
        self._held += text
        result = NOTHING
        while self._error is None and (progress := self._step()) is not None:
            result += progress
        return result

    @abstractmethod
    def _step(self) -> Parsed | None: ...

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error:
            raise error


def overlap(text: str, tag: str) -> int:
    """The length of the longest end of `text` that begins `tag`, and is not all of it."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0


class Chain:
    """The content of one parser is what the next one reads."""

    def __init__(self, first: AnswerParser, second: AnswerParser) -> None:
        self._first = first
        self._second = second

    def feed(self, text: str) -> Parsed:
        return self._pass_on(self._first.feed(text))

    def flush(self) -> Parsed:
        return self._pass_on(self._first.flush()) + self._second.flush()

    def _pass_on(self, parsed: Parsed) -> Parsed:
        rest = Parsed("", parsed.thinking, parsed.tool_calls)
        return rest + self._second.feed(parsed.content) if parsed.content else rest


class Forgiving:
    """Gives the text of broken calls as content, and goes on behind it: a model's slip must not end an answer."""

    def __init__(self, parser: AnswerParser) -> None:
        self._parser = parser

    def feed(self, text: str) -> Parsed:
        result = NOTHING
        while True:
            try:
                return result + self._parser.feed(text)
            except BrokenCall as broken:
                result += _unread(broken)

    def flush(self) -> Parsed:
        result = NOTHING
        while True:
            try:
                return result + self._parser.flush()
            except BrokenCall as broken:
                result += _unread(broken) + self.feed("")  # what stands behind it has not been read yet


def _unread(broken: BrokenCall) -> Parsed:
    log.info("a tool call could not be read and is shown as text: %s", broken)
    return Parsed(broken.unread)


class PlainParser:
    """Everything is content."""

    def feed(self, text: str) -> Parsed:
        return Parsed(text) if text else NOTHING

    def flush(self) -> Parsed:
        return NOTHING
