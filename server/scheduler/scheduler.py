"""The shell around the policy: it performs what the policy decides and tells it what happened.

Everything here runs on one event loop and every event is handled without waiting in between, so the policy's state is
never seen half changed, and a client that is cancelled anywhere leaves in one step.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import anyio
import anyio.abc

from server.errors import PunaError, RunnerStartFailed
from server.hardware.devices import CPU_POOL, Device
from server.messages.frames import Loaded
from server.messages.models import ModelSpec, RunningModel
from server.messages.options import RunnerOptions
from server.scheduler import context, events
from server.scheduler.clock import Clock, SystemClock
from server.scheduler.events import Order
from server.scheduler.fit import Fit, fit_of
from server.scheduler.measurements import Measurements
from server.scheduler.placement import Machine, PlacementSettings, place
from server.scheduler.policy import Policy
from server.scheduler.ports import Hardware, Lease, SchedulerSettings, StartRunner
from server.scheduler.process import Process
from server.scheduler.snapshot import status_line
from server.scheduler.state import Limits, Slot

log = logging.getLogger(__name__)

DISCOVERY_DELAY_SECONDS = 0.3  # the server's own start comes first
READING_SECONDS = 1.0  # how long a reading of memory is taken for the truth
MODELS_PER_GPU = 3
STALL_GRACE_SECONDS = 5.0
DRAIN_SECONDS = 2.0
STOP_SECONDS = 10.0
SETTLE_SECONDS = 2.0


@dataclass(slots=True)
class _Answer:
    """What a request waits for."""

    ready: anyio.Event = field(default_factory=anyio.Event)
    lease: Lease | None = None
    runner: int = 0
    error: PunaError | None = None


class Scheduler:
    """Several models side by side. Used as an async context manager, which owns all runners."""

    def __init__(
        self,
        settings: SchedulerSettings,
        hardware: Hardware,
        start_runner: StartRunner,
        clock: Clock | None = None,
        measurements: Measurements | None = None,
    ) -> None:
        self._settings = settings
        self._measurements = measurements or Measurements()
        self._hardware = hardware
        self._start_runner = start_runner
        self._clock = clock or SystemClock()
        self._policy = Policy(
            Limits(
                max_loaded_models=settings.max_loaded_models or 3,
                max_queue=settings.max_queue,
                keep_alive_seconds=settings.keep_alive_seconds,
                load_timeout_seconds=_stall_limit(settings.load_timeout_seconds),
            )
        )
        self._tickets = itertools.count(1)
        self._answers: dict[int, _Answer] = {}
        self._processes: dict[int, Process] = {}
        self._devices: tuple[Device, ...] | None = None
        self._measured_at = -math.inf
        self._measuring = anyio.Lock()
        self._timer: anyio.CancelScope | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._changed = anyio.Event()
        self.version = 0  # grows whenever `running` may have changed

    def __repr__(self) -> str:
        return repr(self._policy)

    async def __aenter__(self) -> Scheduler:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._discover_early)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        try:
            with anyio.CancelScope(shield=True):
                await self.close()
        finally:
            self._tasks.cancel_scope.cancel()
            self._hardware.close()
        if isinstance(error, Exception):  # an error of the body leaves as it is, not wrapped into a group
            await self._tasks.__aexit__(None, None, None)
            return None
        return await self._tasks.__aexit__(kind, error, trace)

    # ---- for requests ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lease(
        self,
        spec: ModelSpec,
        options: RunnerOptions,
        *,
        shift: bool | None = None,
        keep_alive_seconds: float | None = None,
    ) -> AsyncIterator[Lease]:
        """A runner with the model, loaded now if need be; it is not stopped before the lease ends.

        `shift` and `keep_alive_seconds`: None is "not said". Raises ServerBusy where too many wait already,
        ServerStopping, and what kept the model from being loaded.
        """
        order = await self._order(spec, options, shift)
        ticket = next(self._tickets)
        answer = self._answers[ticket] = _Answer()
        try:
            self._post(events.Requested(ticket, order, keep_alive_seconds))
            await answer.ready.wait()
            if answer.lease is None:
                raise answer.error or RunnerStartFailed()
            yield answer.lease
        finally:
            del self._answers[ticket]
            if answer.lease is not None and not answer.lease.runner.is_alive:
                self._post(events.Lost(answer.runner))
            self._post(events.Withdrawn(ticket) if answer.lease is None else events.Released(ticket))

    async def _order(self, spec: ModelSpec, options: RunnerOptions, shift: bool | None) -> Order:
        """Memory is read only for requests that may load something."""
        devices = await self._known_devices()
        order = self._place(spec, options, devices, shift)
        if self._policy.can_grant(order):
            return order
        await self._measure()
        return self._place(spec, options, devices, shift)

    def _place(self, spec: ModelSpec, options: RunnerOptions, devices: tuple[Device, ...], shift: bool | None) -> Order:
        return place(spec, options, self._settings, self._machine(devices), shift=shift)

    def _machine(self, devices: tuple[Device, ...]) -> Machine:
        return Machine(devices, self._policy.capacity, measured=self._measurements.recall)

    async def fit(self, spec: ModelSpec, options: RunnerOptions, settings: PlacementSettings | None = None) -> Fit:
        """What the model would take if it were loaded with everything else gone. `settings`: others than the
        server's own. Nothing is loaded, and nothing leaves."""
        devices = await self._known_devices()
        await self._measure()
        machine = self._machine(devices)
        return fit_of(place(spec, options, settings or self._settings, machine), devices, machine.room)

    # ---- for everybody ---------------------------------------------------------------------------------------------

    def running(self) -> tuple[RunningModel, ...]:
        """Every model in memory, on its way in or out; the one that stays longest first."""
        lines = [self._line(slot) for slot in self._policy.slots.values()]
        lines.sort(key=lambda line: math.inf if line.expires_at is None else line.expires_at, reverse=True)
        return tuple(lines)

    def loaded(self, path: str) -> Loaded | None:
        """What the runner of a model said of itself, None where there is none that is ready."""
        slot = self._policy.slots.get(path)
        process = self._processes.get(slot.runner) if slot is not None else None
        return process.runner.loaded if process is not None and process.runner is not None else None

    def unload(self, path: str) -> bool:
        """Let a model go as soon as nobody uses it. False where it is not loaded."""
        is_loaded = path in self._policy.slots
        self._post(events.UnloadRequested(path))
        return is_loaded

    def unload_all(self) -> None:
        """Let every model go as soon as nobody uses it."""
        for path in tuple(self._policy.slots):
            self.unload(path)

    def keep(self, path: str, seconds: float) -> bool:
        """Give a model another keep-alive, beginning now; negative pins it. False where it is not loaded."""
        is_loaded = path in self._policy.slots
        self._post(events.KeepRequested(path, seconds))
        return is_loaded

    async def release_folder(self, folder: str, settle_seconds: float = SETTLE_SECONDS) -> None:
        """Unload what was loaded from `folder`, and return when nothing there is open or waited for. A request that
        has looked its model up, and is not waiting yet, is given `settle_seconds` to come."""
        await anyio.sleep(settle_seconds)
        while paths := self._paths_in(folder):
            version = self.version
            for path in paths & self._policy.slots.keys():
                self.unload(path)
                version = self.version
            if self._paths_in(folder):
                await self.wait_changed(version)

    def _paths_in(self, folder: str) -> set[str]:
        waiting = {each.order.key for each in self._policy.waiting.values()}
        return {path for path in waiting | self._policy.slots.keys() if Path(path).is_relative_to(folder)}

    async def wait_changed(self, version: int) -> int:
        """Return the new version once it differs from `version`."""
        while self.version == version:
            await self._changed.wait()
        return self.version

    async def close(self, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Refuse what waits, give running answers a moment, then stop all runners. May be called twice."""
        self._post(events.Closing())
        with anyio.move_on_after(drain_seconds):
            await self._emptied()
        for process in self._processes.values():
            process.stop()
        with anyio.move_on_after(STOP_SECONDS) as scope:
            await self._emptied()
        if scope.cancelled_caught:
            log.error("Not every runner ended within %g seconds: %r", STOP_SECONDS, self)

    async def _emptied(self) -> None:
        while self._policy.slots:
            await self.wait_changed(self.version)

    # ---- performing ------------------------------------------------------------------------------------------------

    def _post(self, event: events.Event) -> None:
        for command in self._policy.decide(event, self._clock.now()):
            match command:
                case events.Grant():
                    self._grant(command)
                case events.Refuse():
                    self._refuse(command)
                case events.Start():
                    self._spawn(command)
                case events.Stop():
                    self._processes[command.runner].stop()
                case events.WakeAt():
                    self._set_timer(command.at)
        self._announce()

    def _announce(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = anyio.Event()

    def _grant(self, command: events.Grant) -> None:
        process, answer = self._processes[command.runner], self._answers[command.ticket]
        assert process.runner is not None
        answer.runner = command.runner
        answer.lease = Lease(process.runner, process.start.candidate.plan, process.runner.loaded)
        answer.ready.set()

    def _refuse(self, command: events.Refuse) -> None:
        answer = self._answers[command.ticket]
        answer.error = command.error
        answer.ready.set()

    def _spawn(self, command: events.Start) -> None:
        assert self._tasks is not None
        for note in command.order.notes:
            log.warning("%s: %s", command.order.name, note)
        process = Process(
            start=command,
            start_runner=self._start_runner,
            post=self._post,
            announce=self._announce,
            measure=self._hardware.measure,
            process_memory=self._hardware.process_memory,
            devices=self._devices or (),
            clock=self._clock,
            measurements=self._measurements,
        )
        self._processes[command.runner] = process
        self._tasks.start_soon(self._live, process, name=f"runner of {command.order.name}")

    async def _live(self, process: Process) -> None:
        """Whatever goes wrong in here ends this runner; out of the task group it would end the server."""
        number = process.start.runner
        try:
            await process.live()
        except Exception:
            log.exception("the runner of %s was given up", process.start.order.name)
        finally:
            self._post(events.Exited(number))  # means nothing but after a life that was cut short
            del self._processes[number]
        if self._policy.waiting:
            await self._measure(at_once=True)

    def _set_timer(self, at: float | None) -> None:
        assert self._tasks is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer = anyio.CancelScope()
            self._tasks.start_soon(self._tick_at, at, self._timer)

    async def _tick_at(self, at: float, scope: anyio.CancelScope) -> None:
        with scope:
            await self._clock.sleep_until(at)
        if not scope.cancel_called:
            self._post(events.Tick())

    # ---- the machine -----------------------------------------------------------------------------------------------

    async def _discover_early(self) -> None:
        """Know the machine before the first request asks, but after the server's own start."""
        await anyio.sleep(DISCOVERY_DELAY_SECONDS)
        try:
            await self._known_devices()
        except Exception:  # a request will ask again, and be told
            log.exception("the devices of this machine could not be found")

    async def _known_devices(self) -> tuple[Device, ...]:
        if self._devices is None:
            self._take_devices(await self._hardware.devices())
        return self._devices or ()

    @property
    def usual_context_tokens(self) -> int | None:
        """The context where neither a request nor the model asks for one; None until the machine is known."""
        if self._settings.context_length:
            return self._settings.context_length
        if self._devices is None:
            return None
        return context.tier_context(self._devices, self._settings.gpu_overhead_bytes)

    def _take_devices(self, devices: tuple[Device, ...]) -> None:
        if self._devices is not None:
            return
        self._devices = devices
        limit = self._settings.max_loaded_models or MODELS_PER_GPU * max(1, len(devices))
        self._policy.limits = replace(self._policy.limits, max_loaded_models=limit)
        log.info(
            "vram-based default context total_vram_bytes=%d default_num_ctx=%d",
            sum(device.total_bytes for device in devices),
            context.tier_context(devices, self._settings.gpu_overhead_bytes),
        )

    async def _measure(self, *, at_once: bool = False) -> None:
        """Tell the policy how much memory there is. A reading serves everybody who asks shortly after it."""
        async with self._measuring:
            if not at_once and self._clock.now() < self._measured_at + READING_SECONDS:
                return
            try:
                reading = await self._hardware.measure()
            except Exception:  # the last reading goes on to count; a load that does not fit will say so
                log.exception("free memory could not be read")
                return
            self._measured_at = self._clock.now()
        overhead = self._settings.gpu_overhead_bytes
        self._post(events.Measured(_without(reading.free, overhead), _without(reading.total, overhead)))

    def _line(self, slot: Slot) -> RunningModel:
        process = self._processes[slot.runner]
        runner = process.runner
        return status_line(
            slot,
            process.start.candidate,
            loaded=runner.loaded if runner else None,
            pulse=runner.pulse if runner else None,
            pid=runner.pid if runner else None,
            load_fraction=process.load_fraction,
            waiting=sum(waiting.order.key == slot.key for waiting in self._policy.waiting.values()),
            now=self._clock.now(),
            unix=self._clock.unix(),
        )


def _stall_limit(load_timeout_seconds: float) -> float:
    """A runner notices its own silence and knows the last words; the policy gives up a little later."""
    return load_timeout_seconds + STALL_GRACE_SECONDS if load_timeout_seconds > 0 else 0.0


def _without(amounts: Mapping[str, int], overhead_bytes: int) -> dict[str, int]:
    """What is left of each GPU's memory beside what the user keeps for others."""
    return {pool: size if pool == CPU_POOL else max(0, size - overhead_bytes) for pool, size in amounts.items()}
