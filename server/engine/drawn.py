"""What a token was drawn from: the candidates that penalties, grammar and samplers have left, and their chances."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from server.engine import bindings
from server.engine.penalties import Row
from server.engine.text import TokenChance
from server.engine.vocabulary import Vocabulary

CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])  # llama_token_data
Candidates = np.ndarray[Any, np.dtype[Any]]


class Drawn:
    """The newest draw of one stream, with so many `alternatives`, the likeliest first."""

    def __init__(self, alternatives: int) -> None:
        self._alternatives = alternatives
        self._left = np.zeros(0, CANDIDATE)

    def draw(self, chain: int, row: Row, *, is_certain: bool) -> int:
        """The next token, as `llama_sampler_sample` would choose it. `is_certain`: the chain takes the largest, and
        gives no chances."""
        api = bindings.llama()
        candidates = np.zeros(len(row), CANDIDATE)
        candidates["id"] = np.arange(len(row), dtype=np.int32)
        candidates["logit"] = row
        data = candidates.ctypes.data_as(ctypes.POINTER(api.llama_token_data))
        array = api.llama_token_data_array(data=data, size=len(row), selected=-1, sorted=False)
        api.llama_sampler_apply(chain, ctypes.byref(array))
        left = _read(array)
        token = int(left["id"][array.selected])
        api.llama_sampler_accept(chain, token)
        if is_certain:
            self.take(token)
        else:
            self._left = left
        return token

    def take(self, token: int) -> None:
        """There was no choice."""
        self._left = np.array([(token, 0.0, 1.0)], CANDIDATE)

    def of(self, token: int, vocabulary: Vocabulary, piece: bytes) -> TokenChance:
        """As logarithms. A token that something else has put in the place of the drawn one had no chance at all."""
        left = self._left
        chance = float(left["p"][left["id"] == token].sum())
        best = [(vocabulary.piece(int(one["id"])), math.log(one["p"])) for one in self._likeliest() if one["p"] > 0]
        return TokenChance(piece, math.log(chance) if chance else -math.inf, best)

    def _likeliest(self) -> Candidates:
        """Equal ones by number."""
        left, wanted = self._left, self._alternatives
        if wanted <= 0:
            return left[:0]
        if len(left) > wanted:
            left = left[left["p"] >= np.partition(left["p"], -wanted)[-wanted]]
        return left[np.lexsort((left["id"], -left["p"]))][:wanted]


def _read(array: Any) -> Candidates:
    """A copy: the samplers may have moved the candidates into memory of their own."""
    return np.frombuffer(ctypes.string_at(array.data, int(array.size) * CANDIDATE.itemsize), CANDIDATE)
