"""Which texts the next embedding batch holds. Plain values in, plain values out; no clock, no llama.cpp.

A text is evaluated whole, beside as many others as the batch has rows and sequences for. Requests take turns, one text
each, so that a single text need not wait for a batch of thousands; of each request the longest text that still fits
goes first, because short ones fill what is left.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pick:
    """`request` and `text` are places in what `pack` was given."""

    request: int
    text: int


def pack(requests: Sequence[Sequence[int]], rows: int, sequences: int) -> list[Pick]:
    """`requests` hold the lengths of their waiting texts, each list ascending; the first request begins.

    The longest text of the first one is always picked, however long it is: what is alone in a batch may have all of it.
    """
    turns = deque((number, list(range(len(lengths)))) for number, lengths in enumerate(requests) if lengths)
    picks: list[Pick] = []
    while turns and len(picks) < sequences:
        number, left = turns.popleft()
        lengths = requests[number]
        fitting = len(left) if not picks else bisect_right(left, rows, key=lengths.__getitem__)
        if not fitting:
            continue
        text = left.pop(fitting - 1)
        rows -= lengths[text]
        picks.append(Pick(number, text))
        if left:
            turns.append((number, left))
    return picks
