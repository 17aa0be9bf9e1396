"""A bound on how long an answer may think: after so many tokens, the end of the thought is written for the model."""

from __future__ import annotations

from collections import deque
from typing import Literal

from server.engine.vocabulary import Vocabulary
from server.messages.frames import ThoughtLimit

State = Literal["before", "within", "closing", "over"]


class ThoughtBudget:
    """before   the answer may still open a thought; anything else than its opening ends the watch
    within   tokens are counted until one of the endings comes by itself
    closing  the tokens of the closing text are taken, whatever the model says
    over     nothing to do any more
    """

    def __init__(self, limit: ThoughtLimit, vocabulary: Vocabulary) -> None:
        self._limit = limit
        self._vocabulary = vocabulary
        self._opening = limit.opening.encode()
        self._endings = tuple(ending.encode() for ending in limit.endings)
        self._longest = max(map(len, self._endings), default=1)
        self._text = b""  # before: all so far; within: the end that may hold an ending
        self._taken = 0
        self._forced: deque[int] = deque()
        self.state: State = "before" if limit.opening else "within"

    def __repr__(self) -> str:
        return f"<thought: {self.state}, {self._taken} of {self._limit.tokens} tokens>"

    def replaced(self, token: int) -> int:
        """The token that is taken: the model's own, or the next one of the closing text."""
        is_spent = self._taken >= self._limit.tokens or token in self._vocabulary.end_tokens
        if self.state == "within" and is_spent:
            self.state = "closing"
            self._forced += self._vocabulary.tokenize(self._limit.closing, add_special=False).tolist()
        if self.state != "closing":
            return token
        taken = self._forced.popleft() if self._forced else token
        if not self._forced:
            self.state = "over"
        return taken

    def accept(self, token: int) -> None:
        """The token is part of the answer."""
        if self.state == "before":
            self._begin(self._vocabulary.special_piece(token))
        elif self.state == "within":
            self._taken += 1
            self._text = (self._text + self._vocabulary.special_piece(token))[-4 * self._longest :]
            if any(ending in self._text for ending in self._endings):
                self.state = "over"

    def _begin(self, piece: bytes) -> None:
        self._text += piece
        text = self._text.lstrip()
        if text.startswith(self._opening):
            self.state, self._text = "within", text[len(self._opening) :]
        elif text and not self._opening.startswith(text):
            self.state = "over"
