"""Choosing the next token of one stream: bias and penalties on the row itself, the grammar's mask, then the chain.

Greedy needs no chain at all: the largest logit wins.
"""

from __future__ import annotations

import numpy as np

from server.engine import bindings
from server.engine.bias import Bias
from server.engine.chain import Chain, uses_penalties
from server.engine.constraint import Constraint
from server.engine.context import Context
from server.engine.drawn import Drawn
from server.engine.penalties import Penalties, Row, window_tokens
from server.engine.text import TokenChance
from server.engine.thought import ThoughtBudget
from server.engine.vocabulary import Tokens, Vocabulary
from server.messages.options import SamplingOptions


class Sampler:
    """One stream's chain and history. `close` frees the native part. `drawn`: what the newest token was drawn from,
    where somebody wants to know."""

    def __init__(
        self, context: Context, vocabulary: Vocabulary, options: SamplingOptions, prompt: Tokens,
        constraint: Constraint | None = None, thought: ThoughtBudget | None = None, drawn: Drawn | None = None,
    ) -> None:  # fmt: skip
        """Raises InvalidRequest for a sampler that does not exist."""
        self.drawn = drawn
        self._is_greedy = options.temperature <= 0.0
        self._constraint = constraint
        self._thought = thought
        self._context = context.handle
        self._bias = Bias.of(options, vocabulary)
        window = window_tokens(options, context.capacity_tokens) if uses_penalties(options) else 0
        self._penalties = Penalties(options, window, prompt) if window else None
        self._chain = Chain(options, vocabulary, prompt, context.capacity_tokens)
        self._sample = bindings.llama().llama_sampler_sample

    def pick(self, row: Row, index: int) -> int:
        """The next token. `row`: the logits of output `index` of the batch, which this changes. Raises InvalidRequest
        where the grammar cannot go on."""
        if self._bias is not None:
            self._bias.apply(row)
        if self._penalties is not None:
            self._penalties.apply(row)
        if self._constraint is None:
            token = self._thinking(self._choose(row, index))
        else:
            token = self._choose_within(self._constraint, row, index)
        if self._penalties is not None:
            self._penalties.accept(token)
        if self.drawn is not None and not self._chain.handle:
            self.drawn.take(token)
        return token

    def _choose(self, row: Row, index: int) -> int:
        chain = self._chain.handle
        if chain and self.drawn is not None:
            return self.drawn.draw(chain, row, is_certain=self._is_greedy)
        return int(self._sample(chain, self._context, index) if chain else row.argmax())

    def _thinking(self, token: int) -> int:
        """The token, or what ends a thought that has become too long."""
        if self._thought is not None:
            token = self._thought.replaced(token)
            self._thought.accept(token)
        return token

    def _choose_within(self, constraint: Constraint, row: Row, index: int) -> int:
        """What a model likes best is mostly allowed, and to check one token costs less than to ask for all."""
        is_active = constraint.is_active
        token = -1
        if is_active and not self._chain.handle:
            token = int(row.argmax())
            if not constraint.allows(token):
                token = -1
        if token < 0:
            if is_active:
                constraint.apply(row)
            token = self._choose(row, index)
            if is_active and row[token] == -np.inf:
                token = constraint.fallback()
        token = constraint.replaced(self._thinking(token))
        constraint.accept(token)
        return token

    def close(self) -> None:
        self._chain.close()


class Chances:
    """Log-probabilities of the model itself, before any penalty or cut, over the whole vocabulary."""

    def __init__(self, row: Row, alternatives: int) -> None:
        """Read what is needed before the sampler changes `row`."""
        top = row.max()
        self._row = row.copy()
        self._total = float(top) + float(np.log(np.exp(row - top, dtype=np.float32).sum(dtype=np.float64)))
        self._alternatives = alternatives

    def of(self, token: int, vocabulary: Vocabulary, piece: bytes) -> TokenChance:
        best = [(vocabulary.piece(other), float(self._row[other]) - self._total) for other in self._best()]
        return TokenChance(piece, min(float(self._row[token]) - self._total, 0.0), best)

    def _best(self) -> list[int]:
        """The likeliest tokens, the likeliest first and equal ones by number."""
        wanted = min(self._alternatives, len(self._row))
        if wanted <= 0:
            return []
        threshold = np.partition(self._row, len(self._row) - wanted)[len(self._row) - wanted]
        candidates = np.flatnonzero(self._row >= threshold)
        order = np.argsort(-self._row[candidates], kind="stable")[:wanted]
        return [int(token) for token in candidates[order]]
