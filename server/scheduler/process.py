"""The life of one runner process, from the command to start it to the return of its memory."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from server.errors import PunaError, RunnerStartFailed
from server.hardware.devices import CPU_POOL, Device, Reading
from server.scheduler import events
from server.scheduler.clock import Clock
from server.scheduler.exhaustion import is_out_of_memory, tells_out_of_memory
from server.scheduler.measurements import Measurements, taken_by
from server.scheduler.ports import StartRunner
from server.scheduler.snapshot import measured_need

if TYPE_CHECKING:
    from server.runner import Runner

log = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 5.0
SETTLE_SECONDS = 5.0  # how long a driver may take to give back the memory of a process that is gone
SETTLE_STEP_SECONDS = 0.25
SETTLE_PART = 0.75


@dataclass(slots=True)
class Process:
    """One runner. `live` is its whole life, `stop` may be called at any moment of it. `announce` is called when the
    runner says how it is."""

    start: events.Start
    start_runner: StartRunner
    post: Callable[[events.Event], None]
    announce: Callable[[], None]
    measure: Callable[[], Awaitable[Reading]]
    process_memory: Callable[[int], Awaitable[Mapping[str, int]]]
    devices: tuple[Device, ...]
    clock: Clock
    measurements: Measurements
    runner: Runner | None = None
    load_fraction: float = 0.0
    _loading: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _told_to_stop: anyio.Event = field(default_factory=anyio.Event)

    def stop(self) -> None:
        self._told_to_stop.set()
        self._loading.cancel()

    async def live(self) -> None:
        """Ends with the process; posts Started or Failed, and Exited if it did not fail."""
        async with anyio.create_task_group() as tasks:
            runner = await self._load(tasks)
            if runner is not None:
                self.runner = runner
                runner.on_pulse = lambda _: self.announce()
                await self._serve(runner)

    async def _load(self, tasks: TaskGroup) -> Runner | None:
        """The runner once it is ready; None where there will be none, which is then reported."""
        number, name, plan = self.start.runner, self.start.order.name, self.start.candidate.plan
        began, runner = self.clock.now(), None
        log.info("Loading %s: %s", name, plan)
        try:
            with self._loading:
                runner = await self.start_runner(plan, task_group=tasks, on_progress=self._progressed)
        except PunaError as error:
            log.warning("%s could not be loaded: %s", name, error.log)
            self.post(events.Failed(number, error, is_out_of_memory(error)))
            return None
        except Exception as error:
            log.exception("%s could not be loaded", name)
            self.post(events.Failed(number, RunnerStartFailed(f"The model could not be loaded: {error}")))
            return None
        if runner is None:
            log.info("Loading %s was given up", name)
            self.post(events.Exited(number))
        else:
            log.info("%s is ready after %.2f seconds", name, self.clock.now() - began)
        return runner

    async def _serve(self, runner: Runner) -> None:
        words = ""
        try:
            self.post(events.Started(self.start.runner, measured_need(runner.loaded, self.devices)))
            await self._remember(runner)
            words = await self._until_exit(runner)
        finally:
            with anyio.move_on_after(LAST_WORDS_SECONDS, shield=True):
                await runner.stop()
        log.info("%s is unloaded: %s", self.start.order.name, words)
        self.post(events.Exited(self.start.runner, tells_out_of_memory(words)))

    async def _remember(self, runner: Runner) -> None:
        """What the load took, for the next time."""
        candidate, digest = self.start.candidate, self.start.order.digest
        if candidate.footprint is None or not digest or not runner.loaded.buffers:
            return
        plan, estimate = candidate.plan, candidate.footprint
        on_gpus = await self.process_memory(runner.pid) if plan.gpu_layers else {}
        resident = {CPU_POOL: runner.rss_bytes(), **on_gpus}
        taken = taken_by(runner.loaded, self.devices, plan, estimate, resident)
        await anyio.to_thread.run_sync(self.measurements.remember, digest, plan, taken)

    async def _until_exit(self, runner: Runner) -> str:
        """How the runner ended, in words; its memory is back by then."""
        free_before: dict[str, int] = {}
        waiting = anyio.CancelScope()

        async def stop_when_told() -> None:
            with waiting:
                await self._told_to_stop.wait()
            if self._told_to_stop.is_set():
                free_before.update(await self._free_on_gpus())
                await runner.stop()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_when_told)
            outcome = await runner.wait()
            waiting.cancel()
        await self._settle(free_before)
        return outcome

    def _progressed(self, fraction: float) -> None:
        self.load_fraction = fraction
        self.post(events.Progressed(self.start.runner))

    async def _free_on_gpus(self) -> dict[str, int]:
        """Free bytes of the GPUs that this runner uses and that can be read; other machines are not asked."""
        pools = [pool for pool in self.start.candidate.need if pool != CPU_POOL]
        if not pools:
            return {}
        free = (await self.measure()).free
        return {pool: free[pool] for pool in pools if pool in free}

    async def _settle(self, free_before: dict[str, int]) -> None:
        """Wait until the driver has given back most of the memory; whoever reads too early evicts one more model."""
        need = self.start.candidate.need
        patience = self.clock.now() + SETTLE_SECONDS
        while free_before and self.clock.now() < patience:
            free = await self._free_on_gpus()
            if all(free.get(pool, 0) >= before + SETTLE_PART * need[pool] for pool, before in free_before.items()):
                return
            await self.clock.sleep_until(self.clock.now() + SETTLE_STEP_SECONDS)
