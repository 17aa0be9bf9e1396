"""Random sequences of events. `World` checks the promises after each one: limits, memory, leases, one answer each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import OutOfMemory, RunnerStartFailed
from server.scheduler import events
from server.scheduler.events import Candidate, Order
from server.scheduler.reuse import Setup
from server.scheduler.state import Limits
from tests.scheduler.policy_world import World
from tests.scheduler.scheduler_fakes import order

KEYS = "abcde"
NEEDS = (5, 20, 40, 60, 95, 150)  # of a memory of 100
DRAWS = st.tuples(st.integers(0, 18), st.integers(0, 200), st.integers(0, 200))
KEEP_ALIVES = (None, None, 0.0, 30.0, 300.0, -1.0)

Draw = tuple[int, int, int]


def _request(w: World, a: int, b: int) -> None:
    key = KEYS[a % len(KEYS)]
    setup = Setup(shift=b % 7 != 0)
    need = NEEDS[b % len(NEEDS)]
    pools = ({"cpu": need}, {"gpu0": need}, {"gpu0": need // 2, "cpu": need // 2})
    candidates = tuple(Candidate(order(key).candidates[0].plan, pools[(a + n) % 3]) for n in range(1 + b % 2))
    fallback = candidates[:1] if b % 5 == 0 else ()
    wanted = Order(key, setup, candidates, fallback, name=key)
    if b % 3 == 0:
        wanted = replace(wanted, projector_on_cpu=wanted)
    w.request(wanted, keep_alive=KEEP_ALIVES[a % len(KEEP_ALIVES)])


def _on(table: str, act: Callable[[World, str], object]) -> Callable[[World, int, int], None]:
    """An action on one of the processes in `table`; nothing where there is none."""

    def run(w: World, a: int, b: int) -> None:
        starts = list(getattr(w, table).values())
        if starts:
            act(w, starts[a % len(starts)].order.key)

    return run


def _withdraw(w: World, a: int, b: int) -> None:
    if w.waiting:
        w.withdraw(list(w.waiting)[a % len(w.waiting)])


def _release(w: World, a: int, b: int) -> None:
    if w.leases:
        w.release(list(w.leases)[a % len(w.leases)])


ACTIONS: tuple[Callable[[World, int, int], None], ...] = (
    _request,
    _request,
    _request,
    _request,
    _withdraw,
    _release,
    _release,
    _release,
    _on("loading", lambda w, key: w.started(key)),
    _on("loading", lambda w, key: w.started(key)),
    _on("loading", lambda w, key: w.failed(key, RunnerStartFailed())),
    _on("loading", lambda w, key: w.failed(key, OutOfMemory(), out_of_memory=True)),
    _on("stopping", lambda w, key: w.exited(key)),
    _on("stopping", lambda w, key: w.exited(key)),
    _on("ready", lambda w, key: w.crashed(key)),
    _on("ready", lambda w, key: w.crashed(key, out_of_memory=True)),
    lambda w, a, b: w.pass_time(a),
    lambda w, a, b: w.post(events.UnloadRequested(KEYS[a % len(KEYS)])),
    lambda w, a, b: w.post(events.KeepRequested(KEYS[a % len(KEYS)], float(b % 100 - 1))),
)


@settings(max_examples=1500, deadline=None)
@given(draws=st.lists(DRAWS, max_size=60), limit=st.integers(1, 4), queue=st.integers(0, 6))
def test_no_promise_is_broken_and_nobody_waits_for_ever(draws: list[Draw], limit: int, queue: int) -> None:
    w = World(Limits(max_loaded_models=limit, max_queue=queue, fill=1.0), {"cpu": 100, "gpu0": 100})
    for action, a, b in draws:
        ACTIONS[action](w, a, b)
    w.finish_everything()
    assert w.waiting == {}
    assert w.leases == {}
    w.close()
    w.finish_everything()
    assert w.state == "0 runners, 0 loading, 0 waiting"


@settings(max_examples=200, deadline=None)
@given(draws=st.lists(DRAWS, max_size=40))
def test_closing_at_any_moment_ends_everything(draws: list[Draw]) -> None:
    w = World(Limits(fill=1.0), {"cpu": 100, "gpu0": 100})
    for action, a, b in draws:
        ACTIONS[action](w, a, b)
    w.close()
    w.finish_everything()
    assert w.state == "0 runners, 0 loading, 0 waiting"
