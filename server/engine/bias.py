"""Likes and dislikes of a request for single tokens, added to the logits before anything else looks at them."""

from __future__ import annotations

import numpy as np

from server.engine.penalties import Row
from server.engine.vocabulary import Tokens, Vocabulary
from server.messages.options import SamplingOptions


class Bias:
    """Ids and what is added to their logits; -inf forbids a token."""

    def __init__(self, ids: Tokens, amounts: Row) -> None:
        self._ids = ids
        self._amounts = amounts

    @classmethod
    def of(cls, options: SamplingOptions, vocabulary: Vocabulary) -> Bias | None:
        """None where nothing is to be added. Ids that do not exist are left out, several wishes for one id add up."""
        amounts: dict[int, float] = {int(token): -np.inf for token in vocabulary.suppressed}
        for wish, amount in options.logit_bias:
            tokens = [wish] if isinstance(wish, int) else vocabulary.tokenize(wish, add_special=False).tolist()
            for token in tokens:
                if 0 <= token < vocabulary.size:
                    amounts[token] = amounts.get(token, 0.0) + amount
        if options.ignore_eos:
            amounts.update(dict.fromkeys(vocabulary.end_tokens, -np.inf))
        if not amounts:
            return None
        return cls(np.array(list(amounts), np.int32), np.array(list(amounts.values()), np.float32))

    def apply(self, row: Row) -> None:
        row[self._ids] += self._amounts
