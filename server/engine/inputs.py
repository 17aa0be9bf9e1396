"""From the texts of an Embed command to tokens that surely fit: what is longer than a batch would end the process.

The rules are those that clients know:
- a text may have `limit_tokens`, less one for a BOS and one for an EOS that it does not bring itself, whether the model
  adds them or not; `truncate` cuts it there;
- what the context or a batch still cannot hold is cut once more, to `spare_tokens`, where that is less.
Token ids are taken as they are; nothing is added to them, so nothing is reserved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from server.engine.vocabulary import Tokens, Vocabulary
from server.errors import ContextExceeded, InvalidRequest, Unsupported
from server.messages.frames import Embed

TOO_LONG = "the input length exceeds the context length"
NOTHING_LEFT = "input after truncation exceeds maximum context length"
CANNOT_BE_CUT = "input exceeds maximum context length and cannot be truncated further"
_PROBE = "a"


@dataclass(frozen=True, slots=True)
class PreparedInputs:
    """An Embed whose texts are tokenized, none empty, and all fit."""

    id: int
    inputs: tuple[Tokens, ...]


class Inputs:
    """`capacity_tokens` is what the runner can evaluate of one text, with what the model adds."""

    def __init__(self, vocabulary: Vocabulary, capacity_tokens: int) -> None:
        self.capacity_tokens = capacity_tokens
        self._vocabulary = vocabulary
        self._head, self._tail = _additions(vocabulary)

    def prepare(self, command: Embed) -> PreparedInputs:
        """Raises ContextExceeded or InvalidRequest for the first text that cannot be used, Unsupported for a query."""
        if command.query is not None:
            raise Unsupported("This model makes vectors and cannot score documents. Please use a reranking model.")
        return PreparedInputs(command.id, tuple(self._tokens(item, command) for item in command.inputs))

    def _tokens(self, item: str | tuple[int, ...], command: Embed) -> Tokens:
        if isinstance(item, str):
            plain = self._vocabulary.tokenize(item, add_special=False)
            plain = self._fit(plain, command, _Reserve.of(plain, self._vocabulary))
            head = self._head[:0] if len(plain) and plain[0] == self._vocabulary.bos else self._head
            return self._filled(np.concatenate((head, plain, self._tail)))
        return self._filled(self._fit(np.array(self._vocabulary.checked(item), np.int32), command, _Reserve(0, False)))

    def _fit(self, plain: Tokens, command: Embed, reserve: _Reserve) -> Tokens:
        limit = command.limit_tokens - reserve.tokens if command.limit_tokens else len(plain)
        if len(plain) > limit:
            plain = _cut(plain, limit, command)
        if not self._holds(plain, reserve):
            spare = command.spare_tokens - reserve.tokens
            if command.truncate and spare >= len(plain):
                raise ContextExceeded(CANNOT_BE_CUT)
            plain = _cut(plain, spare, command)
        if not self._holds(plain, reserve):
            raise ContextExceeded(TOO_LONG)
        return plain

    def _holds(self, plain: Tokens, reserve: _Reserve) -> bool:
        added = len(self._head) + len(self._tail) if reserve.is_text else 0
        return len(plain) + added <= self.capacity_tokens

    def _filled(self, tokens: Tokens) -> Tokens:
        """At least one token: an empty text of a model that adds none becomes its first special token."""
        if len(tokens):
            return tokens
        special = next((token for token in (self._vocabulary.bos, self._vocabulary.eos) if token >= 0), -1)
        if special < 0:
            raise InvalidRequest("The input is empty, and this model has no token for nothing.")
        return np.array([special], np.int32)


@dataclass(frozen=True, slots=True)
class _Reserve:
    """How many tokens of the limit are kept for what the model adds."""

    tokens: int
    is_text: bool

    @classmethod
    def of(cls, plain: Tokens, vocabulary: Vocabulary) -> _Reserve:
        if not len(plain):
            return cls(0, True)
        return cls(int(plain[0] != vocabulary.bos) + int(plain[-1] != vocabulary.eos), True)


def _cut(plain: Tokens, limit: int, command: Embed) -> Tokens:
    if not command.truncate:
        raise ContextExceeded(TOO_LONG)
    if limit <= 0:
        raise InvalidRequest(NOTHING_LEFT)
    return plain[:limit]


def _additions(vocabulary: Vocabulary) -> tuple[Tokens, Tokens]:
    """What the model puts before and after a text. Taken from an example: each kind of vocabulary has its own rules."""
    plain = vocabulary.tokenize(_PROBE, add_special=False)
    whole = vocabulary.tokenize(_PROBE, add_special=True)
    extra = len(whole) - len(plain)
    for head in range(extra + 1):
        if np.array_equal(whole[head : head + len(plain)], plain):
            return whole[:head], whole[head + len(plain) :]
    return whole[:0], whole[:0]
