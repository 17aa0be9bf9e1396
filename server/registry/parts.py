"""How a file is divided for its way over the network, and what is written down of it meanwhile.

Sizes and the file format are Ollama's, so that either program goes on with what the other began.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

MOST_PARTS = 16
LEAST_PART_BYTES = 100_000_000
MOST_PART_BYTES = 1_000_000_000
_NAMES = {"number": "N", "offset": "Offset", "size": "Size", "completed": "Completed"}


class Part(msgspec.Struct, kw_only=True, rename=_NAMES):
    """Bytes `offset` to `offset + size` of a file, of which the first `completed` are there."""

    number: int
    offset: int
    size: int
    completed: int = 0

    @property
    def end(self) -> int:
        return self.offset + self.size

    @property
    def at(self) -> int:
        """Where the next byte goes."""
        return self.offset + self.completed

    @property
    def is_complete(self) -> bool:
        return self.completed >= self.size

    @property
    def missing(self) -> int:
        return self.size - self.completed


def layout(total: int) -> list[Part]:
    """The parts of a file of `total` bytes, in order; none for an empty one."""
    size = min(max(total // MOST_PARTS, LEAST_PART_BYTES), MOST_PART_BYTES)
    offsets = range(0, total, size)
    return [Part(number=n, offset=at, size=min(size, total - at)) for n, at in enumerate(offsets)]


def encode(part: Part) -> bytes:
    return msgspec.json.encode(part) + b"\n"


def decode(data: bytes) -> Part | None:
    """None for what is no state of a part."""
    try:
        part = msgspec.json.decode(data, type=Part)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    is_possible = part.number >= 0 and part.offset >= 0 and part.size > 0 and 0 <= part.completed <= part.size
    return part if is_possible else None


def resumed(states: Mapping[int, Part | None], total: int) -> list[Part]:
    """The parts to go on with, from the states found by their number; None is one that could not be read.

    States that cover the file without a gap count as they are, whoever chose their sizes. Otherwise those count that
    are parts of our own layout, and the rest begins anew.
    """
    known = sorted((part for part in states.values() if part is not None), key=lambda part: part.offset)
    if _covers(known, total):
        return known
    fresh = layout(total)
    for part in fresh:
        state = states.get(part.number)
        if state is not None and (state.number, state.offset, state.size) == (part.number, part.offset, part.size):
            part.completed = state.completed
    return fresh


def _covers(parts: Iterable[Part], total: int) -> bool:
    end = 0
    for part in parts:
        if part.offset != end:
            return False
        end = part.end
    return end == total


def contiguous(parts: Iterable[Part]) -> int:
    """How many bytes from the beginning are there without a gap."""
    end = 0
    for part in sorted(parts, key=lambda part: part.offset):
        if part.offset != end:
            break
        end = part.at
        if not part.is_complete:
            break
    return end
