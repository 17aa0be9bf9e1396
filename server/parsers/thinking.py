"""Thinking between two tags at the very start of an answer."""

from __future__ import annotations

from typing import Literal

from server.parsers.base import NOTHING, Parsed, overlap

State = Literal["looking", "opened", "thinking", "closed", "done"]


class ThinkingParser:
    """Splits off what stands between `opening` and `closing`.

    White space before the opening tag, behind it and behind the closing one is dropped; anything else in front means
    that the model does not think. `primed`: the prompt ended with the opening tag.
    """

    def __init__(self, opening: str, closing: str, primed: bool = False) -> None:
        self._opening = opening
        self._closing = closing
        self._state: State = "opened" if primed else "looking"
        self._held = ""

    @property
    def is_done(self) -> bool:
        """Whether all that follows is content."""
        return self._state == "done"

    def feed(self, text: str) -> Parsed:
        if self._state == "done":
            return Parsed(text) if text else NOTHING
        text = self._held + text
        self._held = ""
        thinking = ""
        if self._state == "looking":
            trimmed = text.lstrip()
            if self._opening.startswith(trimmed) and trimmed != self._opening:
                self._held = text
                return NOTHING
            if not trimmed.startswith(self._opening):
                self._state = "done"
                return Parsed(text)
            self._state, text = "opened", trimmed[len(self._opening) :]
        if self._state == "opened":
            text = text.lstrip()
            if text:
                self._state = "thinking"
        if self._state == "thinking":
            thinking, text = self._split(text)
        if self._state == "closed":
            text = text.lstrip()
            if text:
                self._state = "done"
        return Parsed(text if self._state == "done" else "", thinking)

    def _split(self, text: str) -> tuple[str, str]:
        """The thinking in `text`, and what follows the closing tag."""
        thinking, found, rest = text.partition(self._closing)
        if found:
            self._state = "closed"
            return thinking, rest
        kept = overlap(text, self._closing)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept], ""

    def flush(self) -> Parsed:
        held, self._held = self._held, ""
        if self._state == "thinking":
            return Parsed(thinking=held)
        return Parsed(held) if held.strip() else NOTHING
