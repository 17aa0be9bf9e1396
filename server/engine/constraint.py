"""One answer that must follow a grammar: which token may come next, and when the answer is whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import thread_time
from typing import Any, Literal

from server.engine.mask import TokenMask
from server.engine.penalties import Row
from server.engine.vocabulary import Vocabulary
from server.errors import InvalidRequest
from server.messages.frames import Grammar

FREE_SECONDS = 1.0  # what an answer may spend on masks, whatever its length
SECONDS_PER_TOKEN = 0.005  # and for each token; others share the loop, and wait meanwhile

State = Literal["free", "choosing", "bound", "lifted"]
Matcher = Any  # llguidance.LLMatcher


class Constraint:
    """free      the text that it begins after has not come: every token may
    choosing  at the beginning, or behind a thought: what the answer is decides itself by its first words
    bound     only what the grammar allows
    lifted    the answer has begun with a text that needs no grammar
    """

    def __init__(
        self,
        grammar: Grammar,
        vocabulary: Vocabulary,
        begin: Callable[[bool], Matcher],
        tokens: Callable[[bytes], list[int]],
    ) -> None:
        """`begin`: a new matcher, with the choice of a thought or without. `tokens` cuts bytes into tokens."""
        self.is_complete = False
        self._grammar = grammar
        self._vocabulary = vocabulary
        self._begin = begin
        self._tokens = tokens
        self._forced: deque[int] = deque()
        self._mask: TokenMask | None = None
        self._text = b""  # since the state began; of a free one the end that may hold `after`
        self._marks = tuple(mark.encode() for mark in grammar.after)
        self._kept = max(map(len, self._marks), default=1) - 1
        self._spent = 0.0
        self._taken = 0
        self._matcher: Matcher = None
        self._state: State = "free"
        if grammar.opening or not self._marks:
            self._bind(may_think=bool(grammar.opening))

    def __repr__(self) -> str:
        return f"<constraint: {self._state}, {self._taken} tokens, {1000 * self._spent:.0f} ms of masks>"

    @property
    def is_active(self) -> bool:
        """Whether tokens are forbidden now."""
        return self._state in ("choosing", "bound")

    def _bind(self, *, may_think: bool) -> None:
        self._matcher = self._begin(may_think)
        self._state = "choosing" if may_think or self._grammar.unless else "bound"
        self._text = b""

    # ---- choosing a token ------------------------------------------------------------------------------------------

    def allows(self, token: int) -> bool:
        return self._matcher.validate_tokens([token]) == 1  # type: ignore[no-any-return]

    def apply(self, row: Row) -> None:
        """Forbid in the logits what the grammar does. Raises InvalidRequest when nothing is left or it costs too
        much."""
        if self._mask is None:
            self._mask = TokenMask(self._vocabulary.size)
        start = thread_time()
        self._matcher.unsafe_compute_mask_ptr(self._mask.address, self._mask.bytes)
        allowed = self._mask.read()
        self._spent += thread_time() - start
        if self._matcher.is_error():
            raise failure(self._matcher)
        if not allowed:
            raise InvalidRequest("The model has no token that the grammar of this answer allows next.")
        if self._spent > FREE_SECONDS + SECONDS_PER_TOKEN * self._taken:
            raise InvalidRequest(
                "The grammar of this answer takes too long for each token; use a simpler schema, with shorter patterns."
            )
        self._mask.apply(row)

    def fallback(self) -> int:
        """An allowed token, where the model gives none of them a chance."""
        assert self._mask is not None
        return self._mask.first()

    def replaced(self, token: int) -> int:
        """The token, or the one that comes whatever the model says: an answer that would end before it began goes on
        with the bridge."""
        if self._forced:
            return self._forced.popleft()
        if self._state != "free" or not self._grammar.bridge or token not in self._vocabulary.end_tokens:
            return token
        self._forced += self._vocabulary.tokenize(self._grammar.bridge, add_special=False).tolist()
        return self._forced.popleft()

    # ---- following the answer --------------------------------------------------------------------------------------

    def accept(self, token: int) -> None:
        """The token is part of the answer. Raises InvalidRequest when the grammar cannot go on."""
        self._taken += 1
        if self._state == "free":
            self._wait(self._vocabulary.special_piece(token))
        elif self.is_active:
            self._follow([token])

    def _wait(self, piece: bytes) -> None:
        self._text += piece
        found = [(at, mark) for mark in self._marks if (at := self._text.find(mark)) >= 0]
        if not found:
            self._text = self._text[-self._kept :] if self._kept else b""
            return
        at, mark = min(found)
        rest = self._text[at + len(mark) :].lstrip()
        self._forced.clear()
        self._bind(may_think=False)
        if rest:  # one token brought the end of the thought and the beginning of the answer
            self._follow(self._tokens(rest))

    def _follow(self, tokens: list[int]) -> None:
        if self._state == "choosing":
            self._text += b"".join(map(self._vocabulary.special_piece, tokens))
        if not self._matcher.consume_tokens(tokens):
            raise failure(self._matcher)
        if self._state == "choosing":
            self._decide()
        elif self._matcher.is_stopped():
            self.is_complete = True

    def _decide(self) -> None:
        text = self._text.lstrip()
        opening, unless = self._grammar.opening.encode(), tuple(word.encode() for word in self._grammar.unless)
        if opening and text.startswith(opening):
            self._state, self._text, self._matcher = "free", b"", None
            self._wait(text[len(opening) :])
        elif text.startswith(unless):
            self._state, self._matcher = "lifted", None
        elif text and not any(word.startswith(text) for word in (opening, *unless)):
            self._state = "bound"
        if self._state == "bound" and self._matcher.is_stopped():
            self.is_complete = True


def failure(matcher: Matcher) -> InvalidRequest:
    """Why a matcher gave up, in its own first line."""
    words = str(matcher.get_error())
    reason = words.partition("\n")[0].strip() or "no reason was given"
    return InvalidRequest(f"The schema or grammar cannot be enforced: {reason}.", log=words)
