"""Steady streams for popular models, and somebody who wants another one. Safety tests cannot see starvation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.scheduler.events import Order
from server.scheduler.state import Limits
from tests.scheduler.policy_world import World
from tests.scheduler.scheduler_fakes import order

ANSWER_STEPS = 3  # an answer takes longer than the pause between two requests, so the popular one is never idle
PATIENCE_STEPS = 40


def step(w: World, ends: dict[int, int], now: int) -> None:
    """One step of time: loads and exits come true, answers that are over end."""
    w.pass_time(1.0)
    for start in list(w.loading.values()):
        w.started(start.order.key)
    for start in list(w.stopping.values()):
        w.exited(start.order.key)
    for ticket in list(w.leases):
        if ends.setdefault(ticket, now + ANSWER_STEPS) <= now:
            w.release(ticket)


def waits(w: World, popular: Callable[[int], Order], rival: Order, rivals: int) -> list[int]:
    """How many steps each of `rivals` requests waited, one after the other, beside the popular stream."""
    ends: dict[int, int] = {}
    now, waited = 0, []
    for _ in range(rivals):
        for _ in range(5):
            w.request(popular(now))
            step(w, ends, now)
            now += 1
        ticket, began = w.request(rival), now
        while ticket not in w.answers and now - began < PATIENCE_STEPS:
            w.request(popular(now))
            step(w, ends, now)
            now += 1
        assert w.answers.get(ticket) == "granted", f"starved beside a steady stream: {w.state}"
        waited.append(now - began)
    return waited


def one_model(now: int) -> Order:
    return order("popular", 60)


def many_small(now: int) -> Order:
    return order(f"small {now % 4}", 30)


def one_setup(now: int) -> Order:
    return order("shared", 60)


@pytest.mark.parametrize(
    ("popular", "rival"),
    [
        (one_model, order("rival", 60)),
        (many_small, order("large", 95)),
        (many_small, order("too large for the machine", 500)),
        (one_setup, order("shared", 60, num_ctx=8192, num_ctx_automatic=False)),
    ],
    ids=["one model fits", "small ones beside a large one", "larger than the machine", "another context length"],
)
def test_a_steady_stream_never_starves_another_model(popular: Callable[[int], Order], rival: Order) -> None:
    w = World(Limits(fill=1.0, max_loaded_models=4))
    waited = waits(w, popular, rival, rivals=20)
    assert max(waited) <= PATIENCE_STEPS
    w.finish_everything()
    assert w.waiting == {}


def test_the_popular_model_is_not_starved_either() -> None:
    w = World(Limits(fill=1.0, max_loaded_models=1))
    waits(w, one_model, order("rival", 60), rivals=10)
    w.finish_everything()
    granted = sum(answer == "granted" for answer in w.answers.values())
    assert granted == w.tickets


def test_two_streams_take_turns_in_batches() -> None:
    """Each load serves everybody who waits for it, so swapping costs one load per turn, not one per request."""
    w = World(Limits(fill=1.0, max_loaded_models=1))
    ends: dict[int, int] = {}
    starts = 0
    for now in range(200):
        for key in ("left", "right"):
            w.request(order(key, 60))
            starts += f"start {key}" in w.said
        before = len(w.loading)
        step(w, ends, now)
        starts += len(w.loading) > before
    w.finish_everything()
    assert all(answer == "granted" for answer in w.answers.values())
    assert len(w.answers) == 400
    assert starts < 100
