"""Repetition, presence and frequency penalties on the logits row itself: only the tokens that occurred are touched."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from server.engine.vocabulary import Tokens
from server.messages.options import SamplingOptions

Row = npt.NDArray[np.float32]


def window_tokens(options: SamplingOptions, context: int) -> int:
    """How far back penalties look: 0 for none, negative `repeat_last_n` for the whole context."""
    is_neutral = options.repeat_penalty == 1.0 and options.presence_penalty == 0.0 and options.frequency_penalty == 0.0
    if is_neutral or options.repeat_last_n == 0:
        return 0
    return context if options.repeat_last_n < 0 else min(options.repeat_last_n, context)


class Penalties:
    """The last `window` tokens with their counts, kept so that a token costs the same however long the window is."""

    def __init__(self, options: SamplingOptions, window: int, prompt: Tokens) -> None:
        self._repeat = np.float32(options.repeat_penalty or 1.0)
        self._presence = np.float32(options.presence_penalty)
        self._frequency = np.float32(options.frequency_penalty)
        self._window = window
        self._recent: deque[int] = deque()
        self._ids = np.zeros(window + 1, np.int64)  # distinct tokens in any order, the first `_distinct` are valid
        self._counts = np.zeros(window + 1, np.float32)
        self._places: dict[int, int] = {}
        for token in prompt[-window:]:
            self.accept(int(token))

    def accept(self, token: int) -> None:
        place = self._places.setdefault(token, len(self._places))
        self._ids[place] = token
        self._counts[place] += 1
        self._recent.append(token)
        if len(self._recent) > self._window:
            self._forget(self._recent.popleft())

    def _forget(self, token: int) -> None:
        place = self._places[token]
        self._counts[place] -= 1
        if self._counts[place] > 0:
            return
        last = len(self._places) - 1
        moved = int(self._ids[last])
        self._ids[place], self._counts[place] = moved, self._counts[last]
        self._counts[last] = 0
        self._places[moved] = place
        del self._places[token]

    def apply(self, row: Row) -> None:
        """Divide positive and multiply other logits by the repetition penalty, then subtract the other two."""
        distinct = len(self._places)
        ids, counts = self._ids[:distinct], self._counts[:distinct]
        logits = row[ids]
        logits = np.where(logits <= 0, logits * self._repeat, logits / self._repeat)
        row[ids] = logits - (counts * self._frequency + self._presence)
