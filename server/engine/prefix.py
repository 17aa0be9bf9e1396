"""Which sequence of the KV a prompt gets, and how much of it is there already.

A sequence keeps its tokens when its stream ends. A new prompt takes a free sequence and reuses the longest beginning
that any sequence holds: its own, or another one's cells, shared without copying. At least one token is always
evaluated again, because cells hold no logits. A tree over sequences can replace `SequencePool` later; nobody else
knows how sequences are found.
"""

from __future__ import annotations

from collections.abc import Sequence as Row
from typing import Protocol

import numpy as np

from server.engine.layout import Span
from server.engine.vocabulary import Tokens


class Memory(Protocol):
    """What is asked of the KV; Context is one."""

    def remove(self, sequence: int, start: int, end: int) -> bool: ...

    def copy(self, source: int, target: int, start: int, end: int) -> None: ...

    def move(self, sequence: int, start: int, end: int, by: int) -> None: ...

    def first_position(self, sequence: int) -> int: ...


class Sequence:
    """One sequence id and the tokens whose cells it holds, the rows of images and sounds among them."""

    def __init__(self, number: int, capacity: int) -> None:
        self.number = number
        self.length = 0
        self.spans: list[Span] = []  # those that have begun below `length`
        self.shared = 0  # no position from here on has cells in common with another sequence
        self.is_busy = False
        self.last_use = 0
        self._tokens = np.zeros(capacity, np.int32)

    def __repr__(self) -> str:
        return f"<sequence {self.number}: {self.length} tokens{', busy' if self.is_busy else ''}>"

    @property
    def tokens(self) -> Tokens:
        return self._tokens[: self.length]

    def append(self, token: int) -> None:
        self._tokens[self.length] = token
        self.length += 1

    def extend(self, tokens: Tokens, spans: Row[Span] = ()) -> None:
        """More cells at the end; `spans` are those that begin in them."""
        end = self.length + len(tokens)
        self._tokens[self.length : end] = tokens
        self.length = end
        self.spans += spans

    def cut(self, length: int) -> None:
        """Only the first `length` tokens are left."""
        self.length = min(self.length, length)
        self.shared = min(self.shared, self.length)
        while self.spans and self.spans[-1].start >= self.length:
            self.spans.pop()

    def position(self, length: int) -> int:
        """The position of the cell behind the first `length`, which end at no inner row of a span. The rows of a span
        may share positions."""
        return length - sum(span.tokens - span.positions for span in self.spans if span.end <= length)

    @property
    def next_position(self) -> int:
        return self.position(self.length)

    def boundary(self, length: int) -> int:
        """The same, or the beginning of the span that it would cut."""
        return next((span.start for span in self.spans if span.start < length < span.end), length)

    def close_gap(self, start: int, end: int) -> None:
        """Positions [start, end) have gone and the rest moved up."""
        rest = self._tokens[end : self.length].copy()
        self._tokens[start : start + len(rest)] = rest
        self.length = start + len(rest)
        self.shared = min(self.shared, start)

    def common(self, prompt: Tokens) -> int:
        """How many tokens at the beginning are the same."""
        size = min(self.length, len(prompt))
        different = np.flatnonzero(self._tokens[:size] != prompt[:size])
        return self.boundary(int(different[0]) if len(different) else size)


class SequencePool:
    """All sequences of a context. `window`: tokens that sliding attention sees, 0 for all. `can_share`: whether two
    sequences may hold one cell: not with sliding windows or recurrent states."""

    def __init__(self, memory: Memory, count: int, capacity: int, *, window: int = 0, can_share: bool = True) -> None:
        self.sequences = tuple(Sequence(number, capacity) for number in range(count))
        self._memory = memory
        self._window = window
        self._can_share = can_share
        self._clock = 0

    def __repr__(self) -> str:
        return f"<{len(self.sequences)} sequences, {sum(s.is_busy for s in self.sequences)} busy, {self.used} tokens>"

    @property
    def used(self) -> int:
        """Tokens that running streams hold."""
        return sum(sequence.length for sequence in self.sequences if sequence.is_busy)

    def has_free(self) -> bool:
        return any(not sequence.is_busy for sequence in self.sequences)

    def take_empty(self) -> Sequence:
        """The free sequence that was not used for longest, with nothing in it."""
        self._clock += 1
        free = [sequence for sequence in self.sequences if not sequence.is_busy]
        best = min(free, key=lambda sequence: (sequence.length > 0, sequence.last_use))
        self.forget(best)
        best.is_busy = True
        best.last_use = self._clock
        return best

    def take(self, prompt: Tokens) -> tuple[Sequence, int]:
        """A free sequence that holds the returned number of the prompt's first tokens, and nothing else.

        In this order: the free sequence with the longest common beginning, if that is at least half of what it
        holds; else the free one that was not used for longest, with the beginning shared from whoever has most.
        """
        self._clock += 1
        free = [sequence for sequence in self.sequences if not sequence.is_busy]
        common = {sequence.number: sequence.common(prompt) for sequence in self.sequences}
        best = max(free, key=lambda sequence: (common[sequence.number], -sequence.last_use))
        if common[best.number] * 2 < best.length or common[best.number] == 0:
            best = min(free, key=lambda sequence: (sequence.length > 0, sequence.last_use))
        kept = best.boundary(min(common[best.number], len(prompt) - 1))
        source = max(self.sequences, key=lambda sequence: common[sequence.number])
        if self._can_share and source is not best and common[source.number] > kept + 1:
            kept = self._share(source, best, source.boundary(min(common[source.number], len(prompt) - 1)))
        else:
            kept = self._rewind(best, kept)
        best.is_busy = True
        best.last_use = self._clock
        return best, kept

    def release(self, sequence: Sequence) -> None:
        """The stream has ended; its cells stay until the room or the sequence is needed."""
        self._clock += 1
        sequence.is_busy = False
        sequence.last_use = self._clock

    def forget(self, sequence: Sequence) -> None:
        """Drop all cells of a sequence."""
        self._memory.remove(sequence.number, -1, -1)
        sequence.cut(0)

    def evict(self) -> bool:
        """Give back the cells of the idle sequence that was not used for longest; False when there is none."""
        idle = [sequence for sequence in self.sequences if not sequence.is_busy and sequence.length]
        if idle:
            self.forget(min(idle, key=lambda sequence: sequence.last_use))
        return bool(idle)

    def shift(self, sequence: Sequence, start: int, end: int) -> Tokens | None:
        """Drop positions [start, end) of a sequence without spans and close the gap.

        Cells that another sequence shares cannot be moved. Then everything from `start` on is dropped, and what must
        be evaluated again is returned; None when nothing must.
        """
        if sequence.shared > end:
            rest = sequence.tokens[end:].copy()
            self._memory.remove(sequence.number, start, -1)
            sequence.cut(start)
            return rest
        self._memory.remove(sequence.number, start, end)
        self._memory.move(sequence.number, end, sequence.length, start - end)
        sequence.close_gap(start, end)
        return None

    def _share(self, source: Sequence, target: Sequence, length: int) -> int:
        self.forget(target)
        self._memory.copy(source.number, target.number, 0, source.position(length))
        target.extend(source.tokens[:length], [span for span in source.spans if span.end <= length])
        target.shared = length
        source.shared = max(source.shared, length)
        return length

    def _rewind(self, sequence: Sequence, length: int) -> int:
        """Keep the first `length` tokens if this memory can go back there, else none; returns how many stayed."""
        if length < sequence.length:
            position = sequence.position(length)
            is_possible = length > 0 and self._memory.remove(sequence.number, position, -1)
            if is_possible and self._window:
                first = self._memory.first_position(sequence.number)  # -1: the whole window has gone
                is_possible = 0 <= first <= max(position - self._window, 0)
            if not is_possible:
                self.forget(sequence)
                return 0
            sequence.cut(length)
        return length
