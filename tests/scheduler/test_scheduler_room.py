"""Making room, step by step: who must leave, who is spared, and what counts as free."""

from __future__ import annotations

from server.scheduler import events
from server.scheduler.state import Limits
from tests.scheduler.policy_world import World
from tests.scheduler.scheduler_fakes import order


def world(**limits: float) -> World:
    return World(Limits(**{"fill": 1.0, **limits}))  # type: ignore[arg-type]


# ---- make room -----------------------------------------------------------------------------------------------------


def test_memory_is_free_only_when_the_process_has_exited() -> None:
    w = world()
    w.load_idle("a", need=60)
    w.request("b", need=60)
    assert w.said == ["stop a"]
    assert w.pass_time(1) == []
    assert w.exited("a") == ["start b"]


def test_the_victim_is_idle_even_if_its_keep_alive_is_longer() -> None:
    """runtime 52."""
    w = world(max_loaded_models=2)
    w.load("busy", keep_alive=10)
    w.load_idle("idle", keep_alive=100_000)
    w.request("new")
    assert w.said == ["stop idle"]


def test_among_idle_models_the_shortest_keep_alive_goes_first() -> None:
    """runtime 53."""
    w = world(max_loaded_models=2)
    w.load_idle("a", keep_alive=3600)
    w.load_idle("z", keep_alive=60)
    w.request("new")
    assert w.said == ["stop z"]


def test_among_equal_keep_alives_the_least_recently_used_goes_first() -> None:
    w = world(max_loaded_models=2)
    w.load_idle("b")
    w.now = 10
    w.load_idle("a")
    w.request("new")
    assert w.said == ["stop b"]


def test_pinned_models_go_last() -> None:
    w = world(max_loaded_models=2)
    w.load_idle("pinned", keep_alive=-1)
    w.now = 10
    w.load_idle("usual", keep_alive=100_000)
    w.request("new")
    assert w.said == ["stop usual"]


def test_no_more_is_stopped_than_it_takes() -> None:
    w = world(max_loaded_models=9)
    w.load_idle("small", need=10)
    w.now = 1
    w.load_idle("large", need=50)
    w.now = 2
    w.load_idle("other", need=40)
    w.request("new", need=50)
    assert w.said == ["stop large"]


def test_what_is_on_its_way_out_is_counted_before_anybody_else_is_stopped() -> None:
    w = world(max_loaded_models=9)
    w.load_idle("a", need=50)
    w.load_idle("b", need=50)
    w.post(events.UnloadRequested("a"))
    w.request("new", need=50)
    assert w.said == []
    assert w.exited("a") == ["start new"]


def test_busy_ones_drain_and_are_spared_when_an_idle_one_turns_up() -> None:
    w = world(max_loaded_models=2)
    first, second = w.load("a"), w.load("b")
    w.request("new")
    assert w.said == []
    draining = [slot.key for slot in w.policy.slots.values() if slot.is_draining]
    assert len(draining) == 1
    other, lease = ("b", second) if draining == ["a"] else ("a", first)
    assert w.release(lease) == [f"stop {other}"]
    assert not any(slot.is_draining for slot in w.policy.slots.values())


def test_a_model_loaded_for_waiting_requests_serves_them_before_it_makes_room() -> None:
    w = world(max_loaded_models=1)
    w.request("a")
    w.request("b")
    assert w.said == []
    assert w.started("a") == ["grant a"]
    assert [slot.is_draining for slot in w.policy.slots.values()] == [True]


def test_later_requests_load_beside_a_waiting_one_where_they_do_not_touch_its_room() -> None:
    """The reference blocks them all behind the first."""
    w = World(Limits(fill=1.0, max_loaded_models=9), {"gpu0": 100, "gpu1": 100})
    w.request(order("a", {"gpu0": 80}))
    w.started("a")
    w.request(order("b", {"gpu0": 80}))
    assert w.said == []
    w.request(order("c", {"gpu1": 80}))
    assert w.said == ["start c"]
    w.request(order("d", {"gpu0": 10}))
    assert w.said == []


def test_the_candidate_that_disturbs_least_is_taken() -> None:
    w = World(Limits(fill=1.0, max_loaded_models=9), {"gpu0": 100, "gpu1": 100})
    w.request(order("busy", {"gpu0": 80}))
    w.started("busy")
    w.request(order("idle", {"gpu1": 80}))
    w.started("idle")
    w.release(2)
    either = order("new", {"gpu0": 60})
    either = events.Order("new", either.setup, (*either.candidates, *order("new", {"gpu1": 60}).candidates), name="new")
    w.request(either)
    assert w.said == ["stop idle"]


def test_a_model_that_fits_nowhere_is_tried_alone() -> None:
    w = world(max_loaded_models=9)
    lease = w.load("a")
    w.load_idle("b")
    w.request("huge", need=1000)
    assert w.said == ["stop b"]
    w.request("c")
    assert w.said == []  # nobody slips in before it
    w.exited("b")
    assert w.release(lease) == ["stop a"]
    assert w.exited("a") == ["start huge"]
    assert w.started("huge") == ["grant huge"]


# ---- memory --------------------------------------------------------------------------------------------------------


def test_capacity_is_what_is_free_plus_what_our_own_take() -> None:
    w = world()
    w.load("a", need=30)
    w.post(events.Measured({"cpu": 50}, {"cpu": 100, "gpu0": 40}))
    assert w.policy.capacity == {"cpu": 80, "gpu0": 40}


def test_a_pool_in_motion_is_judged_another_time() -> None:
    """A load that has half of its memory would look like another program that took it."""
    w = world()
    w.request("a", need=30)
    w.post(events.Measured({"cpu": 85}, {"cpu": 100}))
    assert w.policy.capacity == {"cpu": 100}


def test_measured_sizes_replace_the_estimate() -> None:
    w = world()
    w.request("a", need=90)
    runner = w.runner("a", w.loading)
    w.ready[runner] = w.loading.pop(runner)
    w.post(events.Started(runner, {"cpu": 20}))
    assert w.policy.slots["a"].need == {"cpu": 20}
    assert w.policy.slots["a"].serves(w.policy.slots["a"].order.setup)
