"""Which texts go into one embedding batch."""

from __future__ import annotations

import random

from server.engine.packing import Pick, pack


def test_of_each_request_the_longest_that_fits() -> None:
    assert pack([[3, 5, 9]], 15, 8) == [Pick(0, 2), Pick(0, 1)]
    assert pack([[3, 5, 9]], 17, 8) == [Pick(0, 2), Pick(0, 1), Pick(0, 0)]
    assert pack([[1, 1, 5, 9]], 11, 8) == [Pick(0, 3), Pick(0, 1), Pick(0, 0)]


def test_the_first_text_goes_however_long_it_is_and_then_alone() -> None:
    assert pack([[2, 900], [1]], 256, 8) == [Pick(0, 1)]


def test_requests_take_turns() -> None:
    assert pack([[4] * 100, [4], [4, 4]], 16, 8) == [Pick(0, 99), Pick(1, 0), Pick(2, 1), Pick(0, 98)]
    assert pack([[], [4]], 16, 8) == [Pick(1, 0)]


def test_no_more_texts_than_sequences() -> None:
    assert pack([[1] * 9], 100, 3) == [Pick(0, 8), Pick(0, 7), Pick(0, 6)]
    assert pack([], 100, 3) == []


def test_whatever_waits_comes_to_its_end_within_the_rows() -> None:
    numbers = random.Random(4)
    for _ in range(200):
        waiting = [sorted(numbers.randint(1, 40) for _ in range(numbers.randint(0, 9))) for _ in range(5)]
        total = sum(map(len, waiting))
        while any(waiting):
            picks = pack(waiting, 32, 4)
            assert picks
            assert len(set(picks)) == len(picks) <= 4
            rows = sum(waiting[pick.request][pick.text] for pick in picks)
            assert rows <= 32 or len(picks) == 1
            for pick in sorted(picks, key=lambda pick: -pick.text):
                del waiting[pick.request][pick.text]
            total -= len(picks)
        assert total == 0
