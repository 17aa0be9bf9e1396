"""Sequences keep their tokens, share beginnings and forget in order. The KV is a dictionary here."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.engine.layout import Builder, Layout, Piece
from server.engine.prefix import SequencePool
from server.engine.vocabulary import Tokens


class Cells:
    """A KV that remembers which positions a sequence holds. `can_rewind` False stands for recurrent memories."""

    def __init__(self, *, can_rewind: bool = True) -> None:
        self.held: dict[int, list[int]] = {}
        self.shared: list[tuple[int, int, int]] = []
        self.moves: list[tuple[int, int, int, int]] = []
        self.can_rewind = can_rewind

    def remove(self, sequence: int, start: int, end: int) -> bool:
        start, end = max(start, 0), 1 << 30 if end < 0 else end
        held = self.held.get(sequence, [])
        if start > 0 and not self.can_rewind and any(start <= place < end for place in held):
            return False
        self.held[sequence] = [place for place in held if not start <= place < end]
        return True

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        self.held[target] = [place for place in self.held[source] if start <= place < end]
        self.shared.append((source, target, end))

    def move(self, sequence: int, start: int, end: int, by: int) -> None:
        self.moves.append((sequence, start, end, by))
        self.held[sequence] = [place + by if start <= place < end else place for place in self.held[sequence]]

    def first_position(self, sequence: int) -> int:
        return min(self.held.get(sequence, []), default=-1)


def tokens(*values: int) -> Tokens:
    return np.array(values, np.int32)


def answer(pool: SequencePool, cells: Cells, prompt: Tokens, *, keep_busy: bool = False) -> tuple[int, int]:
    """Take a sequence, evaluate what is missing; returns its number and what was there."""
    sequence, cached = pool.take(prompt)
    assert cells.held.get(sequence.number, []) == list(range(cached))
    assert cached <= len(prompt) - 1
    assert list(sequence.tokens) == list(prompt[:cached])
    cells.held[sequence.number] = list(range(len(prompt)))
    sequence.extend(prompt[cached:])
    if not keep_busy:
        pool.release(sequence)
    return sequence.number, cached


def test_a_conversation_goes_on_where_it_was() -> None:
    cells = Cells()
    pool = SequencePool(cells, 2, 100)
    first, cached = answer(pool, cells, tokens(1, 2, 3, 4))
    assert cached == 0
    assert answer(pool, cells, tokens(1, 2, 3, 4, 5, 6)) == (first, 4)


def test_the_same_prompt_again_evaluates_one_token() -> None:
    cells = Cells()
    pool = SequencePool(cells, 1, 100)
    answer(pool, cells, tokens(1, 2, 3, 4))
    assert answer(pool, cells, tokens(1, 2, 3, 4)) == (0, 3)


def test_an_unrelated_prompt_takes_the_sequence_that_was_not_used_for_longest() -> None:
    cells = Cells()
    pool = SequencePool(cells, 3, 100)
    for start in (10, 20, 30):
        answer(pool, cells, tokens(start, start + 1, start + 2))
    assert answer(pool, cells, tokens(40, 41)) == (0, 0)
    assert answer(pool, cells, tokens(50, 51)) == (1, 0)


def test_a_beginning_is_shared_with_a_stream_that_runs() -> None:
    cells = Cells()
    pool = SequencePool(cells, 2, 100)
    system = list(range(1, 21))
    first, _ = answer(pool, cells, tokens(*system, 50), keep_busy=True)
    second, cached = answer(pool, cells, tokens(*system, 60))
    assert (first != second, cached) == (True, 20)
    assert cells.shared == [(first, second, 20)]


def test_shared_cells_are_never_moved() -> None:
    cells = Cells()
    pool = SequencePool(cells, 2, 100)
    system = list(range(1, 21))
    answer(pool, cells, tokens(*system, 50), keep_busy=True)
    answer(pool, cells, tokens(*system, 60), keep_busy=True)
    for sequence in pool.sequences:
        rest = pool.shift(sequence, 2, 10)
        assert rest is not None
        assert list(rest) == [*range(11, 21), 50 if sequence.number == 0 else 60]
        assert sequence.length == 2
    assert cells.moves == []


def test_own_cells_are_moved() -> None:
    cells = Cells()
    pool = SequencePool(cells, 1, 100)
    sequence, _ = pool.take(tokens(*range(10)))
    cells.held[0] = list(range(10))
    sequence.extend(tokens(*range(10)))
    assert pool.shift(sequence, 2, 6) is None
    assert list(sequence.tokens) == [0, 1, 6, 7, 8, 9]
    assert cells.held[0] == list(range(6))


def test_a_memory_that_cannot_go_back_starts_anew() -> None:
    cells = Cells(can_rewind=False)
    pool = SequencePool(cells, 1, 100, can_share=False)
    answer(pool, cells, tokens(1, 2, 3, 4))
    assert answer(pool, cells, tokens(1, 2, 3, 9)) == (0, 0)
    assert answer(pool, cells, tokens(1, 2, 3, 9, 10)) == (0, 4), "going on is always possible"


def test_a_sliding_window_that_has_passed_starts_anew() -> None:
    cells = Cells()
    pool = SequencePool(cells, 1, 100, window=4, can_share=False)
    answer(pool, cells, tokens(*range(20)))
    cells.held[0] = list(range(14, 20))
    assert answer(pool, cells, tokens(*range(10), 99)) == (0, 0)


def test_idle_sequences_give_their_room_back_oldest_first() -> None:
    cells = Cells()
    pool = SequencePool(cells, 2, 100)
    answer(pool, cells, tokens(1, 2, 3))
    answer(pool, cells, tokens(7, 8, 9))
    assert pool.evict()
    assert [sequence.length for sequence in pool.sequences] == [0, 3]
    assert pool.evict()
    assert not pool.evict()


@given(st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=8), st.booleans()), max_size=40))
def test_any_traffic_keeps_tokens_and_cells_together(traffic: list[tuple[list[int], bool]]) -> None:
    cells = Cells()
    pool = SequencePool(cells, 3, 100)
    for prompt, is_busy in traffic:
        if not pool.has_free():
            pool.release(min((s for s in pool.sequences if s.is_busy), key=lambda s: s.last_use))
        answer(pool, cells, tokens(*prompt), keep_busy=is_busy)
        for sequence in pool.sequences:
            assert cells.held.get(sequence.number, []) == list(range(sequence.length))


# ---- prompts with images ---------------------------------------------------------------------------------------------


def image(code: int, size: int, positions: int) -> Piece:
    zeros = np.zeros((4, size), np.int32)
    return Piece(code, size, positions, zeros, np.ones_like(zeros))


BIG, SMALL = image(-2, 5, 2), image(-3, 1, 1)


def prompt_of(*parts: int | Piece) -> Layout:
    builder = Builder()
    for part in parts:
        if isinstance(part, Piece):
            builder.add_piece(part)
        else:
            builder.add_text(tokens(part))
    return builder.layout()


def positions_of(layout: Layout) -> list[int]:
    """Where each cell stands: the rows of an image all at its beginning, as rotary sections have it in time."""
    found: list[int] = []
    at = 0
    spans = {placed.span.start: placed.span for placed in layout.media}
    cell = 0
    while cell < len(layout.tokens):
        span = spans.get(cell)
        found += [at] * (span.tokens if span else 1)
        at += span.positions if span else 1
        cell += span.tokens if span else 1
    return found


def look(pool: SequencePool, cells: Cells, layout: Layout, *, keep_busy: bool = False) -> tuple[int, int]:
    """As `answer`, for a prompt with images."""
    sequence, cached = pool.take(layout.tokens)
    places = positions_of(layout)
    assert cells.held.get(sequence.number, []) == places[:cached]
    assert cached <= len(layout.tokens) - 1
    assert not any(placed.span.start < cached < placed.span.end for placed in layout.media)
    assert sequence.spans == [placed.span for placed in layout.media if placed.span.end <= cached]
    cells.held[sequence.number] = places
    sequence.extend(layout.tokens[cached:], [placed.span for placed in layout.media if placed.span.start >= cached])
    if layout.tokens[-1] >= 0:
        assert sequence.next_position == places[-1] + 1
    if not keep_busy:
        pool.release(sequence)
    return sequence.number, cached


def test_an_image_is_found_again_as_a_whole() -> None:
    cells = Cells()
    pool = SequencePool(cells, 1, 100)
    look(pool, cells, prompt_of(1, BIG, 2, 3))
    assert look(pool, cells, prompt_of(1, BIG, 2, 3, 4)) == (0, 8)
    assert look(pool, cells, prompt_of(1, SMALL, 2, 3)) == (0, 1), "another image in its place"
    assert look(pool, cells, prompt_of(1, SMALL, 9, BIG)) == (0, 2)
    assert look(pool, cells, prompt_of(1, SMALL, 9, BIG)) == (0, 3), "the last rows are wanted again, so all of it"


def test_text_behind_an_image_stands_where_its_positions_end() -> None:
    cells = Cells()
    pool = SequencePool(cells, 1, 100)
    look(pool, cells, prompt_of(1, BIG, 2, 3), keep_busy=True)
    (sequence,) = pool.sequences
    assert (sequence.position(1), sequence.position(6), sequence.position(8)) == (1, 3, 5)
    assert [sequence.boundary(length) for length in range(9)] == [0, 1, 1, 1, 1, 1, 6, 7, 8]


def test_an_image_is_shared_with_a_stream_that_runs() -> None:
    cells = Cells()
    pool = SequencePool(cells, 2, 100)
    look(pool, cells, prompt_of(1, BIG, 2, 3, 4), keep_busy=True)
    assert look(pool, cells, prompt_of(1, BIG, 2, 3, 9)) == (1, 8)
    assert cells.shared == [(0, 1, 5)]


def test_an_image_that_was_half_read_is_read_anew() -> None:
    cells = Cells()
    pool = SequencePool(cells, 1, 100)
    layout = prompt_of(1, BIG, 2)
    sequence, _ = pool.take(layout.tokens)
    sequence.extend(layout.tokens[:4], [layout.media[0].span])
    cells.held[0] = positions_of(layout)[:4]
    pool.release(sequence)
    assert look(pool, cells, layout) == (0, 1)


parts = st.lists(st.sampled_from([1, 2, BIG, SMALL]), min_size=1, max_size=6)


@given(st.lists(st.tuples(parts, st.booleans()), max_size=30))
def test_any_traffic_with_images_keeps_tokens_and_cells_together(traffic: list[tuple[list[int | Piece], bool]]) -> None:
    cells = Cells()
    pool = SequencePool(cells, 3, 100)
    for prompt, is_busy in traffic:
        if not pool.has_free():
            pool.release(min((s for s in pool.sequences if s.is_busy), key=lambda s: s.last_use))
        look(pool, cells, prompt_of(*prompt), keep_busy=is_busy)
        for sequence in pool.sequences:
            assert len(cells.held.get(sequence.number, [])) == sequence.length
            assert all(span.start < sequence.length for span in sequence.spans)
