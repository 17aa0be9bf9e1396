"""Choosing the next token of one stream.

The order is llama-server's: penalties, top_k, typical_p, top_p, min_p, temperature, then the draw. Greedy needs no
chain at all: the largest logit after the penalties.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np

from server.engine import bindings
from server.engine.constraint import Constraint
from server.engine.context import Context
from server.engine.penalties import Penalties, Row, window_tokens
from server.engine.text import TokenChance
from server.engine.vocabulary import Tokens, Vocabulary
from server.messages.options import SamplingOptions

SEED_MASK = 0xFFFFFFFF  # llama.cpp draws at random for this very seed


def seed_of(wanted: int) -> int:
    """32 bits: random for a negative one, otherwise always the same for the same number."""
    if wanted < 0:
        return secrets.randbelow(SEED_MASK)
    seed = wanted & SEED_MASK
    return seed if seed != SEED_MASK else SEED_MASK - 1


class Sampler:
    """One stream's chain and history. `close` frees the native part."""

    def __init__(
        self, context: Context, vocabulary: Vocabulary, options: SamplingOptions, prompt: Tokens,
        constraint: Constraint | None = None,
    ) -> None:  # fmt: skip
        self._api = bindings.llama()
        self._constraint = constraint
        self._context = context.handle
        self._suppressed = vocabulary.suppressed if len(vocabulary.suppressed) else None
        window = window_tokens(options, context.capacity_tokens)
        self._penalties = Penalties(options, window, prompt) if window else None
        self._chain = 0 if options.temperature <= 0 else self._build(options)
        self._sample = self._api.llama_sampler_sample

    def _build(self, options: SamplingOptions) -> int:
        api = self._api
        params = api.llama_sampler_chain_default_params()
        params.no_perf = True
        chain: int = api.llama_sampler_chain_init(params)
        links: list[Any] = []
        if options.top_k > 0:
            links.append(api.llama_sampler_init_top_k(options.top_k))
        if 0.0 < options.typical_p < 1.0:  # 0 counts as unset
            links.append(api.llama_sampler_init_typical(options.typical_p, 0))
        if options.top_p < 1.0:
            links.append(api.llama_sampler_init_top_p(max(options.top_p, 0.0), 1))
        if options.min_p > 0.0:
            links.append(api.llama_sampler_init_min_p(options.min_p, 1))
        links.append(api.llama_sampler_init_temp(options.temperature))
        links.append(api.llama_sampler_init_dist(seed_of(options.seed)))
        for link in links:
            api.llama_sampler_chain_add(chain, link)
        return chain

    def pick(self, row: Row, index: int) -> int:
        """The next token. `row`: the logits of output `index` of the batch, which this changes. Raises InvalidRequest
        where the grammar cannot go on."""
        if self._suppressed is not None:
            row[self._suppressed] = -np.inf
        if self._penalties is not None:
            self._penalties.apply(row)
        if self._constraint is None:
            token = self._choose(row, index)
        else:
            token = self._choose_within(self._constraint, row, index)
        if self._penalties is not None:
            self._penalties.accept(token)
        return token

    def _choose(self, row: Row, index: int) -> int:
        return int(self._sample(self._chain, self._context, index) if self._chain else row.argmax())

    def _choose_within(self, constraint: Constraint, row: Row, index: int) -> int:
        """What a model likes best is mostly allowed, and to check one token costs less than to ask for all."""
        is_active = constraint.is_active
        token = -1
        if is_active and not self._chain:
            token = int(row.argmax())
            if not constraint.allows(token):
                token = -1
        if token < 0:
            if is_active:
                constraint.apply(row)
            token = self._choose(row, index)
            if is_active and row[token] == -np.inf:
                token = constraint.fallback()
        token = constraint.replaced(token)
        constraint.accept(token)
        return token

    def close(self) -> None:
        if self._chain:
            self._api.llama_sampler_free(self._chain)
            self._chain = 0


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
