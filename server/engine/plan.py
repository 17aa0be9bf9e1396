"""What the next batch holds. Plain values in, plain values out; no clock, no llama.cpp.

The cases, in this order:
- every stream that generates gets its one token;
- what room is left goes to streams that still read their prompt. Half of it is split evenly, the stream that waits
  longest first, so that none starves; the other half goes to the shortest rests, so that short prompts answer soon;
- a batch that cannot finish all prompts is cut to a multiple of TILE rows, because kernels pay for whole tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TILE = 64


@dataclass(frozen=True, slots=True)
class Demand:
    """A stream's wish. `remaining`: tokens to evaluate, 1 for a stream that generates. `arrival`: smaller is older."""

    stream: int
    remaining: int
    arrival: int
    is_generating: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    stream: int
    tokens: int


def plan_step(demands: Sequence[Demand], batch_tokens: int, prefill_tokens: int) -> list[Share]:
    """One batch of at most `batch_tokens` rows, of them at most about `prefill_tokens` for prompts.

    A tile is always granted: less would cost as much time.
    """
    generating = [Share(demand.stream, 1) for demand in demands if demand.is_generating][:batch_tokens]
    reading = sorted((d for d in demands if not d.is_generating), key=lambda d: d.arrival)
    if not reading:
        return generating
    room = prefill_room(len(generating), sum(d.remaining for d in reading), batch_tokens, prefill_tokens)
    return generating + split(reading, room)


def prefill_room(generating: int, wanted: int, batch_tokens: int, prefill_tokens: int) -> int:
    """Prompt tokens of a batch with `generating` other rows."""
    total = min(batch_tokens, generating + max(prefill_tokens, 1))
    if generating + wanted <= total:
        return wanted
    tiles = max(total // TILE, generating // TILE + 1) * TILE
    return max(min(tiles, batch_tokens) - generating, 0)


def split(reading: Sequence[Demand], room: int) -> list[Share]:
    """Divide `room` among streams, given by age, as the module says."""
    granted = {demand.stream: 0 for demand in reading}
    even = max(room // 2 // len(reading), 1)
    for demand in reading:
        tokens = min(even, demand.remaining, room)
        granted[demand.stream] = tokens
        room -= tokens
    for demand in sorted(reading, key=lambda d: (d.remaining, d.arrival)):
        tokens = min(demand.remaining - granted[demand.stream], room)
        granted[demand.stream] += tokens
        room -= tokens
    return [Share(stream, tokens) for stream, tokens in granted.items() if tokens]
