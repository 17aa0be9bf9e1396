"""What every parser is, and what it gives."""

from __future__ import annotations

from typing import Protocol

import msgspec

from server.messages.chat import ToolCall


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


class AnswerParser(Protocol):
    """Reads one answer from its first to its last piece; the result does not depend on how the text is cut."""

    def feed(self, text: str) -> Parsed:
        """What is certain now."""
        ...

    def flush(self) -> Parsed:
        """The rest, at the end of the answer."""
        ...


def overlap(text: str, tag: str) -> int:
    """The length of the longest end of `text` that begins `tag`, and is not all of it."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0


class PlainParser:
    """Everything is content."""

    def feed(self, text: str) -> Parsed:
        return Parsed(text) if text else NOTHING

    def flush(self) -> Parsed:
        return NOTHING
