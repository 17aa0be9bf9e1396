"""The shell with runners in memory: what clients see, and that nobody who leaves leaves anything behind."""

from __future__ import annotations

import logging

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from server.errors import OutOfMemory, RunnerStartFailed, ServerBusy, ServerStopping
from server.hardware.devices import Device
from server.messages.models import ProjectorShape
from server.messages.options import RunnerOptions
from server.scheduler import Scheduler
from server.scheduler.placement import PROJECTOR_NOTE
from server.settings import Settings
from tests.scheduler.scheduler_bench import Bench, bench
from tests.scheduler.scheduler_fakes import GIB, FakeClock, FakeHardware, FakeStarts, spec

pytestmark = pytest.mark.anyio


async def test_a_model_is_loaded_once_and_shared() -> None:
    """runtime 43: the key is the weights file, whatever the names."""
    async with bench() as b:
        await b.client("one", "m", name="first:latest")
        await b.client("two", "m", name="second:latest")
        assert b.log == ["one served", "two served"]
        assert len(b.starts.plans) == 1
        assert b.leases["one"].runner is b.leases["two"].runner
        (line,) = b.scheduler.running()
        assert (line.name, line.state, line.pid, line.used_tokens) == ("first:latest", "ready", 100, 7)
        assert repr(b.scheduler) == "1 runner, 0 loading, 0 waiting"


async def test_idle_expiry_counts_from_the_end_of_the_last_request() -> None:
    """runtime 64."""
    async with bench() as b:
        await b.client("one", "m")
        await b.pass_time(1000)
        await b.finish("one")
        (line,) = b.scheduler.running()
        assert line.expires_at == b.clock.unix() + 300
        await b.pass_time(299)
        assert b.loaded == ["m"]
        await b.pass_time(1.5)
        assert b.loaded == []
        assert b.starts.runners[0].stops > 0


async def test_keep_alive_of_a_request_stays_with_the_runner() -> None:
    """runtime 63."""
    async with bench() as b:
        await b.use("m", keep_alive=3600.0)
        await b.use("m")
        assert b.scheduler.running()[0].expires_at == b.clock.unix() + 3600


async def test_negative_keep_alive_never_expires() -> None:
    """runtime 61."""
    async with bench() as b:
        await b.use("m", keep_alive=-1.0)
        await b.pass_time(10_000_000)
        (line,) = b.scheduler.running()
        assert line.expires_at is None


async def test_zero_keep_alive_unloads_when_idle() -> None:
    """runtime 13."""
    async with bench() as b:
        await b.client("one", "m", keep_alive=0.0)
        await b.client("two", "m")
        await b.finish("one")
        assert b.loaded == ["m"]
        await b.finish("two")
        assert b.loaded == []


async def test_unload_waits_for_running_work() -> None:
    async with bench() as b:
        await b.client("one", "m")
        assert b.scheduler.unload("m")
        await wait_all_tasks_blocked()
        assert b.loaded == ["m"]
        await b.finish("one")
        assert b.loaded == []
        assert not b.scheduler.unload("m")


async def test_keep_pins_and_unpins() -> None:
    async with bench() as b:
        await b.use("m")
        assert b.scheduler.keep("m", -1)
        await b.pass_time(1000)
        assert b.loaded == ["m"]
        assert b.scheduler.keep("m", 60)
        await b.pass_time(61)
        assert b.loaded == []
        assert not b.scheduler.keep("m", 60)


async def test_running_lists_the_latest_expiry_first() -> None:
    """runtime 65."""
    async with bench() as b:
        await b.use("short", keep_alive=10.0)
        await b.use("pinned", keep_alive=-1.0)
        await b.use("long", keep_alive=1000.0)
        assert b.loaded == ["pinned", "long", "short"]


@pytest.mark.parametrize("who", ["queued", "loading", "granted"])
async def test_a_client_may_leave_at_any_moment(who: str) -> None:
    """runtime 55; native-api 96 and 97."""
    async with bench(max_loaded_models=1) as b:
        b.starts.hold("a")
        await b.client("loading", "a")
        await b.client("queued", "b")
        assert repr(b.scheduler) == "1 runner, 1 loading, 2 waiting"
        if who == "queued":
            await b.cancel("queued")
            b.starts.let_go("a")
            await wait_all_tasks_blocked()
            assert b.log == ["loading served"]
            assert [plan.model_path for plan in b.starts.plans] == ["a"]
        elif who == "loading":
            await b.cancel("loading")
            assert b.starts.cancelled == ["a"]
            assert b.log == ["queued served"]
            assert b.loaded == ["b"]
        else:
            b.starts.let_go("a")
            await wait_all_tasks_blocked()
            await b.cancel("loading")
            assert b.log == ["loading served", "queued served"]
            assert b.loaded == ["b"]


async def test_a_load_goes_on_while_anybody_waits_for_it() -> None:
    async with bench() as b:
        b.starts.hold("a")
        await b.client("one", "a")
        await b.client("two", "a")
        await b.cancel("one")
        b.starts.let_go("a")
        await wait_all_tasks_blocked()
        assert b.log == ["two served"]
        assert b.starts.cancelled == []


async def test_a_failing_load_answers_everybody_who_waits_for_it() -> None:
    async with bench() as b:
        b.starts.hold("a")
        b.starts.failures["a"] = [RunnerStartFailed("no such architecture")]
        await b.client("one", "a")
        await b.client("two", "a")
        b.starts.let_go("a")
        await wait_all_tasks_blocked()
        assert {name: str(error) for name, error in b.errors.items()} == {
            "one": "no such architecture",
            "two": "no such architecture",
        }
        await b.use("a")
        assert b.loaded == ["a"]


async def test_an_unforeseen_failure_of_a_start_is_a_clear_error() -> None:
    async with bench() as b:
        b.starts.failures["a"] = [OSError("no more processes")]
        await b.client("one", "a")
        assert isinstance(b.errors["one"], RunnerStartFailed)
        assert "no more processes" in str(b.errors["one"])


async def test_a_runner_that_died_is_replaced() -> None:
    """runtime 50."""
    async with bench() as b:
        await b.use("m")
        b.starts.runners[0].end("The model's process was killed.")
        await wait_all_tasks_blocked()
        assert b.loaded == []
        await b.use("m")
        assert len(b.starts.plans) == 2


async def test_an_unforeseen_failure_around_a_runner_ends_that_runner_alone() -> None:
    async with bench() as b:
        await b.use("m")
        await b.client("other", "n")
        b.starts.runners[0].failure = RuntimeError("a wheel came off")
        b.starts.runners[0].end("gone")
        await wait_all_tasks_blocked()
        assert b.loaded == ["n"]
        await b.use("m")
        assert sorted(b.loaded) == ["m", "n"]


async def test_memory_that_cannot_be_read_stops_nobody() -> None:
    hardware = FakeHardware(failure=OSError("no such counter"))
    async with bench(hardware, max_loaded_models=1) as b:
        await b.use("a")
        await b.use("b")
        assert b.loaded == ["b"]


async def test_memory_running_out_during_an_answer_lets_the_idle_ones_go() -> None:
    """runtime 92."""
    async with bench() as b:
        await b.use("idle", keep_alive=-1.0)
        await b.client("busy", "busy")
        await b.client("victim", "victim")
        b.starts.runners[2].end("CUDA error: out of memory")
        await wait_all_tasks_blocked()
        assert b.loaded == ["busy"]
        await b.finish("busy")
        assert b.loaded == []


async def test_load_out_of_memory_retries_with_a_smaller_context() -> None:
    """runtime 89 (the tier below comes from placement) and 91."""
    async with bench(FakeHardware()) as b:
        b.starts.failures["a"] = [OutOfMemory("no room"), OutOfMemory("no room at all")]
        await b.use("idle")
        await b.client("one", "a")
        assert [plan.model_path for plan in b.starts.plans] == ["idle", "a", "a"]
        assert str(b.errors["one"]) == "no room at all"
        assert b.loaded == []


async def test_load_out_of_memory_retries_with_the_projector_on_the_processor(caplog: pytest.LogCaptureFixture) -> None:
    """runtime 12.3 (a): beside the other retry, and nobody leaves for it."""
    card = Device(0, "CUDA0", library="CUDA", total_bytes=24 * GIB, free_bytes=24 * GIB)
    seeing = spec("a", projector_path="/p", projector=ProjectorShape(weights_bytes=GIB))
    async with bench(FakeHardware((card,))) as b:
        b.starts.failures["a"] = [OutOfMemory("no room"), OutOfMemory("no room at all")]
        await b.use("idle")
        with caplog.at_level(logging.WARNING):
            async with b.scheduler.lease(seeing, RunnerOptions()) as lease:
                assert not lease.plan.projector_offload
        plans = [plan for plan in b.starts.plans if plan.model_path == "a"]
        assert [plan.projector_offload for plan in plans] == [True, False, False]
        assert len({plan.gpu_layers for plan in plans}) == 1
        assert b.loaded == ["a"]  # the third try was made alone
        assert PROJECTOR_NOTE in caplog.text


async def test_a_silent_load_is_given_up_and_signs_of_life_prevent_it() -> None:
    """runtime 88."""
    async with bench(load_timeout_seconds=60) as b:
        b.starts.hold("a")
        await b.client("one", "a")
        await b.pass_time(64)
        b.starts.progress("a", 0.5)
        await b.pass_time(64)
        assert b.scheduler.running()[0].load_fraction == 0.5
        assert b.errors == {}
        await b.pass_time(2)
        assert "timed out waiting for the model to load" in str(b.errors["one"])
        assert b.starts.cancelled == ["a"]
        assert b.loaded == []


async def test_the_queue_is_bounded() -> None:
    """runtime 41."""
    async with bench(max_queue=1, max_loaded_models=1) as b:
        b.starts.hold("a")
        await b.client("loading", "a")
        await b.client("waiting", "b")
        await b.client("refused", "c")
        assert isinstance(b.errors["refused"], ServerBusy)
        assert str(b.errors["refused"]) == "server busy, please try again.  maximum pending requests exceeded"
        assert b.errors["refused"].retry_after_seconds > 0


async def test_requests_for_a_loaded_model_are_never_refused() -> None:
    """runtime 42."""
    async with bench(max_queue=0) as b:
        for number in range(5):
            await b.client(str(number), "a")
        assert b.errors == {}
        assert len(b.log) == 5


async def test_one_model_at_a_time_waits_for_running_requests() -> None:
    """runtime 51."""
    async with bench(max_loaded_models=1) as b:
        await b.client("a", "a")
        await b.client("b", "b")
        assert b.log == ["a served"]
        assert b.scheduler.running()[0].state == "draining"
        await b.finish("a")
        assert b.log == ["a served", "a done", "b served"]
        assert b.loaded == ["b"]


@pytest.mark.parametrize(("gpus", "most"), [(0, 3), (1, 3), (2, 6)])
async def test_so_many_models_side_by_side_where_nobody_says(gpus: int, most: int) -> None:
    """runtime 54"""
    devices = tuple(
        Device(index=at, name=f"CUDA{at}", library="CUDA", total_bytes=64 * GIB, free_bytes=64 * GIB)
        for at in range(gpus)
    )
    total = {"cpu": 64 * GIB, **{device.pool: 64 * GIB for device in devices}}
    async with bench(FakeHardware(gpus=devices, total=total)) as b:
        for number in range(most + 2):
            await b.use(f"m{number}")
            await b.pass_time(2)
        assert len(b.loaded) == most


async def test_a_changed_context_reloads_and_the_same_one_does_not() -> None:
    """runtime 44, 45 and 46."""
    async with bench() as b:
        await b.use("m")
        await b.use("m")
        assert len(b.starts.plans) == 1
        await b.use("m", options=RunnerOptions(num_ctx=4096))
        assert len(b.starts.plans) == 1
        await b.use("m", options=RunnerOptions(num_ctx=2048))
        assert [plan.context_tokens for plan in b.starts.plans] == [4096, 2048]


async def test_memory_decides_who_stays() -> None:
    hardware = FakeHardware()
    async with bench(hardware) as b:
        hardware.used = lambda: {"cpu": 5 * GIB * len(b.starts.alive)}
        for path in ("a", "b", "c"):
            await b.use(path, shape=spec(path, 5 * GIB).shape)
            await b.pass_time(2)
        assert b.loaded == ["c", "b"]


async def test_closing_refuses_who_waits_and_stops_everything() -> None:
    async with bench(max_loaded_models=1) as b:
        await b.client("served", "a")
        await b.client("waiting", "b")
        await b.scheduler.close(drain_seconds=0)
        await wait_all_tasks_blocked()
        assert isinstance(b.errors["waiting"], ServerStopping)
        assert b.starts.alive == []
        await b.client("late", "a")
        assert isinstance(b.errors["late"], ServerStopping)


async def test_closing_lets_running_work_finish() -> None:
    async with bench() as b, anyio.create_task_group() as tasks:
        await b.client("served", "a")
        tasks.start_soon(b.scheduler.close, 60.0)
        await wait_all_tasks_blocked()
        assert b.starts.alive == ["a"]
        await b.finish("served")
        assert b.log == ["served served", "served done"]
        assert b.starts.alive == []


async def test_a_server_that_is_cancelled_leaves_no_runner() -> None:
    starts, hardware = FakeStarts(), FakeHardware()
    starts.hold("loading")
    with anyio.CancelScope() as scope:
        async with (
            Scheduler(Settings(), hardware, starts, FakeClock()) as scheduler,
            anyio.create_task_group() as tasks,
        ):
            b = Bench(scheduler, starts, FakeClock(), hardware)
            b.tasks = tasks
            await b.client("one", "ready")
            await b.client("two", "loading")
            scope.cancel()
    assert starts.alive == []
    assert starts.cancelled == ["loading"]
    assert repr(scheduler) == "0 runners, 0 loading, 0 waiting"


async def test_an_error_of_the_body_leaves_as_it_is() -> None:
    with pytest.raises(LookupError, match="of the body"):
        async with Scheduler(Settings(), FakeHardware(), FakeStarts(), FakeClock()):
            raise LookupError("of the body")


async def test_watchers_hear_of_changes() -> None:
    async with bench() as b, anyio.create_task_group() as tasks:
        heard: list[int] = []

        async def watch() -> None:
            heard.append(await b.scheduler.wait_changed(b.scheduler.version))

        tasks.start_soon(watch)
        await wait_all_tasks_blocked()
        assert heard == []
        await b.client("one", "m")
        assert len(heard) == 1


async def test_watchers_hear_what_a_runner_says_of_itself() -> None:
    async with bench() as b:
        await b.use("m")
        [runner] = b.starts.runners
        version = b.scheduler.version
        runner.on_pulse(runner.pulse)
        assert await b.scheduler.wait_changed(version) == version + 1


async def test_memory_is_not_read_for_requests_that_load_nothing() -> None:
    async with bench() as b:
        await b.use("m")
        readings = b.hardware.readings
        await b.use("m")
        assert b.hardware.readings == readings
