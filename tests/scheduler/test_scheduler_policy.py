"""Single steps of the policy: a state, an event, and exactly these commands."""

from __future__ import annotations

import pytest

from server.errors import OutOfMemory, RunnerStartFailed, ServerBusy, ServerStopping
from server.scheduler import events
from server.scheduler.state import Limits
from tests.scheduler.policy_world import World
from tests.scheduler.scheduler_fakes import order


def world(**limits: float) -> World:
    return World(Limits(**{"fill": 1.0, **limits}))  # type: ignore[arg-type]


# ---- load, share, expire -------------------------------------------------------------------------------------------


def test_the_first_request_starts_and_the_second_shares() -> None:
    """runtime 43."""
    w = world()
    w.request("a")
    assert w.said == ["start a"]
    w.request("a")
    assert w.said == []
    assert w.started("a") == ["grant a", "grant a"]
    w.request("a")
    assert w.said == ["grant a"]
    assert w.state == "1 runner, 0 loading, 0 waiting"


def test_models_that_fit_load_side_by_side() -> None:
    w = world()
    for key in "abc":
        w.request(key)
        assert w.said == [f"start {key}"]
    assert w.state == "3 runners, 3 loading, 3 waiting"


def test_the_idle_timer_starts_when_the_last_request_ends() -> None:
    """runtime 64."""
    w = world()
    first = w.load("a")
    second = w.request("a")
    w.now = 1000
    w.release(first)
    assert w.wake_at is None
    w.now = 2000
    w.release(second)
    assert w.wake_at == 2300
    assert w.pass_time(299) == []
    assert w.pass_time(1) == ["stop a"]
    assert w.exited("a") == []
    assert w.state == "0 runners, 0 loading, 0 waiting"


def test_an_alarm_that_comes_early_is_set_again() -> None:
    w = world()
    w.load_idle("a")
    w.wake_at = None
    w.pass_time(299.999)
    assert w.wake_at == 300


def test_keep_alive_is_replaced_by_a_request_that_carries_one_and_then_stays() -> None:
    """runtime 63."""
    w = world()
    w.load_idle("a", keep_alive=3600)
    assert w.wake_at == 3600
    w.release(w.request("a"))
    assert w.wake_at == 3600
    w.release(w.request("a", keep_alive=60))
    assert w.wake_at == 60


def test_zero_keep_alive_stops_when_idle_and_negative_never() -> None:
    """runtime 13 and 61."""
    w = world()
    lease = w.load("a", keep_alive=0)
    assert w.release(lease) == ["stop a"]
    w.load_idle("b", keep_alive=-1)
    assert w.wake_at is None
    assert w.pass_time(10**9) == []


def test_unload_waits_for_running_work() -> None:
    w = world()
    lease = w.load("a")
    assert w.post(events.UnloadRequested("a")) == []
    assert w.release(lease) == ["stop a"]
    assert w.post(events.UnloadRequested("unknown")) == []


def test_unload_of_a_loading_model_serves_who_waits_first() -> None:
    w = world()
    ticket = w.request("a")
    w.post(events.UnloadRequested("a"))
    assert w.started("a") == ["grant a"]
    assert w.release(ticket) == ["stop a"]


def test_pinning_by_hand() -> None:
    w = world()
    w.load_idle("a")
    w.post(events.KeepRequested("a", -1))
    assert w.wake_at is None
    w.post(events.KeepRequested("a", 30))
    assert w.wake_at == 30


# ---- reload --------------------------------------------------------------------------------------------------------


def test_a_reload_waits_for_requests_in_flight() -> None:
    """native-api 5.3."""
    w = world()
    lease = w.load("a", num_ctx=4096)
    w.request("a", num_ctx=8192, num_ctx_automatic=False)
    assert w.said == []
    late = w.request("a", num_ctx=4096)
    assert late in w.waiting  # it came after the one that reloads
    assert w.release(lease) == ["stop a"]
    assert w.exited("a") == ["start a"]
    assert w.started("a") == ["grant a"]


def test_a_reload_of_an_idle_model_stops_it_at_once() -> None:
    w = world()
    w.load_idle("a")
    w.request("a", shift=False)
    assert w.said == ["stop a"]
    assert w.exited("a") == ["start a"]


def test_a_withdrawn_reload_leaves_the_model_as_it_is() -> None:
    w = world()
    w.load("a")
    reload = w.request("a", shift=False)
    late = w.request("a")
    assert w.withdraw(reload) == ["grant a"]
    assert late in w.leases


# ---- refuse and give up --------------------------------------------------------------------------------------------


def test_the_queue_is_bounded() -> None:
    """runtime 41 and 42."""
    w = world(max_queue=1, max_loaded_models=1)
    w.load("ready")
    w.request("a")
    w.request("b")
    refused = w.request("c")
    assert isinstance(w.errors[refused], ServerBusy)
    assert w.state == "1 runner, 0 loading, 2 waiting"


def test_a_queue_of_zero_lets_one_load() -> None:
    w = world(max_queue=0)
    w.request("a")
    refused = w.request("b")
    assert w.answers[refused] == "refused"
    w.started("a")
    w.request("a")
    assert w.said == ["grant a"]


def test_a_load_that_nobody_waits_for_is_stopped() -> None:
    """native-api 96."""
    w = world()
    first = w.request("a")
    second = w.request("a")
    assert w.withdraw(first) == []
    assert w.withdraw(second) == ["stop a"]
    again = w.request("a")
    assert w.said == []
    assert w.exited("a") == ["start a"]
    assert again in w.waiting


def test_a_failed_load_answers_everybody_who_waits_for_it() -> None:
    w = world()
    w.request("a")
    w.request("a")
    other = w.request("a", shift=False)
    assert w.failed("a", RunnerStartFailed("broken")) == ["refuse", "refuse", "start a"]
    assert other in w.waiting


def test_out_of_memory_retries_smaller_and_alone_once() -> None:
    """runtime 89 and 91."""
    w = world()
    w.load_idle("other")
    ticket = w.request(order("a", 20, fallback=5))
    assert w.failed("a", OutOfMemory(), out_of_memory=True) == ["stop other"]
    assert w.exited("other") == ["start a"]
    assert next(iter(w.loading.values())).candidate.need == {"cpu": 5}
    assert w.failed("a", OutOfMemory("still"), out_of_memory=True) == ["refuse"]
    assert str(w.errors[ticket]) == "still"


def test_out_of_memory_evicts_the_others_and_retries_once() -> None:
    """runtime 90."""
    w = world()
    lease = w.load("other")
    w.request("a")
    assert w.failed("a", OutOfMemory(), out_of_memory=True) == []
    assert w.release(lease) == ["stop other"]
    assert w.exited("other") == ["start a"]
    assert w.started("a") == ["grant a"]


def test_out_of_memory_with_nothing_to_give_up_fails_at_once() -> None:
    w = world()
    w.request("a")
    assert w.failed("a", OutOfMemory(), out_of_memory=True) == ["refuse"]


def test_a_silent_load_is_given_up() -> None:
    """runtime 88."""
    w = world(load_timeout_seconds=60)
    ticket = w.request("a")
    assert w.wake_at == 60
    w.now = 50
    w.post(events.Progressed(w.runner("a", w.loading)))
    assert w.wake_at == 110
    assert w.pass_time(59) == []
    assert w.pass_time(1) == ["refuse", "stop a"]
    assert "timed out" in str(w.errors[ticket])


def test_no_load_timeout() -> None:
    """runtime 14."""
    w = world(load_timeout_seconds=0)
    w.request("a")
    assert w.pass_time(10**6) == []


def test_a_crash_is_followed_by_a_new_start() -> None:
    """runtime 50."""
    w = world()
    lease = w.load("a")
    assert w.crashed("a") == []
    w.request("a")
    assert w.said == ["start a"]
    assert w.release(lease) == []  # the lease on the dead one means nothing any more


def test_memory_running_out_during_an_answer_lets_all_go() -> None:
    """runtime 92."""
    w = world()
    w.load_idle("idle", keep_alive=-1)
    busy = w.load("busy")
    w.load("crashing")
    assert w.crashed("crashing", out_of_memory=True) == ["stop idle"]
    assert w.release(busy) == ["stop busy"]


def test_closing() -> None:
    w = world(max_loaded_models=2)
    lease = w.load("busy")
    w.load_idle("idle")
    waiting = w.request("other", need=95)
    w.exited("idle")
    assert w.close() == ["refuse"]
    assert isinstance(w.errors[waiting], ServerStopping)
    w.request("busy")
    assert w.said == ["refuse"]
    assert w.release(lease) == ["stop busy"]


@pytest.mark.parametrize("late", ["released", "withdrawn", "started", "failed", "exited", "progressed"])
def test_late_news_of_what_is_gone_changes_nothing(late: str) -> None:
    w = world()
    news: dict[str, events.Event] = {
        "released": events.Released(99),
        "withdrawn": events.Withdrawn(99),
        "started": events.Started(99),
        "failed": events.Failed(99, RunnerStartFailed()),
        "exited": events.Exited(99),
        "lost": events.Lost(99),
        "progressed": events.Progressed(99),
    }
    assert w.post(news[late]) == []
