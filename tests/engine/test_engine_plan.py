"""The step planner: safety for any demands, and that no stream starves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.engine.plan import TILE, Demand, plan_step

BATCH = 512
readers = st.lists(st.integers(1, 5000), max_size=20)


def demands_of(generating: int, rests: list[int]) -> list[Demand]:
    made = [Demand(number, 1, number, is_generating=True) for number in range(generating)]
    return made + [Demand(100 + place, rest, 100 + place) for place, rest in enumerate(rests)]


@given(st.integers(0, 64), readers, st.integers(0, 2000))
def test_a_plan_keeps_every_bound(generating: int, rests: list[int], quota: int) -> None:
    demands = demands_of(generating, rests)
    shares = plan_step(demands, BATCH, quota)
    granted = {share.stream: share.tokens for share in shares}
    total = sum(granted.values())
    wanted = generating + sum(rests)
    assert len(granted) == len(shares), "one share for each stream"
    assert total <= BATCH
    assert all(granted[stream] > 0 for stream in granted)
    assert all(granted[demand.stream] == 1 for demand in demands if demand.is_generating), "generating comes first"
    assert all(granted.get(demand.stream, 0) <= demand.remaining for demand in demands)
    assert total == wanted or total % TILE == 0, "whole tiles, unless all is done"
    assert total <= max(generating + quota, generating // TILE * TILE + TILE), "the quota holds, but for one tile"
    if rests and generating < BATCH:
        oldest = next(demand for demand in demands if not demand.is_generating)
        assert granted[oldest.stream] >= 1, "whoever waits longest always gets on"


@given(st.integers(0, 8), st.lists(st.integers(1, 300), min_size=1, max_size=12))
def test_every_prompt_is_read_in_the_end(generating: int, rests: list[int]) -> None:
    left = dict(enumerate(rests))
    steps = 0
    while left:
        demands = demands_of(generating, [])
        demands += [Demand(1000 + stream, rest, stream) for stream, rest in left.items()]
        for share in plan_step(demands, BATCH, TILE):
            if share.stream >= 1000:
                left[share.stream - 1000] -= share.tokens
        left = {stream: rest for stream, rest in left.items() if rest}
        steps += 1
        assert steps <= sum(rests) + 1


def test_a_short_prompt_does_not_wait_for_a_long_one() -> None:
    shares = plan_step([Demand(1, 8000, 1), Demand(2, 100, 2)], BATCH, BATCH)
    assert {share.stream: share.tokens for share in shares} == {1: 412, 2: 100}


def test_a_stream_that_waits_is_read_even_while_short_prompts_keep_coming() -> None:
    long, steps = 4000, 0
    while long > 0:
        arriving = [Demand(10 + number, 64, 10 + number) for number in range(8)]
        shares = plan_step([Demand(1, long, 1), *arriving], BATCH, BATCH)
        long -= next(share.tokens for share in shares if share.stream == 1)
        steps += 1
    assert steps <= 4000 // (BATCH // 2 // 9) + 1


def test_generating_alone_needs_no_tile() -> None:
    assert sum(share.tokens for share in plan_step(demands_of(3, []), BATCH, BATCH)) == 3


def test_four_generating_streams_leave_sixty_rows_of_one_tile() -> None:
    shares = plan_step(demands_of(4, [1000]), BATCH, TILE)
    assert sum(share.tokens for share in shares) == TILE
    assert shares[-1].tokens == 60
