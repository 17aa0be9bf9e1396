"""Stand-ins for what surrounds the scheduler: time, memory and runner processes, all under the test's command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from server.hardware.devices import Device, Reading
from server.messages.frames import LaunchPlan, Loaded, Pulse
from server.messages.models import ModelShape, ModelSpec
from server.scheduler.events import Candidate, Order
from server.scheduler.reuse import Setup

GIB = 2**30


class FakeClock:
    def __init__(self) -> None:
        self.time = 1000.0
        self._sleepers: list[tuple[float, anyio.Event]] = []

    def now(self) -> float:
        return self.time

    def unix(self) -> float:
        return self.time + 1_000_000.0

    async def sleep_until(self, at: float) -> None:
        event = anyio.Event()
        if at <= self.time:
            event.set()
        self._sleepers.append((at, event))
        await event.wait()

    def advance(self, seconds: float) -> None:
        self.time += seconds
        for at, event in self._sleepers:
            if at <= self.time:
                event.set()


@dataclass
class FakeHardware:
    """16 GiB of system memory and the given GPUs; `used` are the bytes that others take."""

    gpus: tuple[Device, ...] = ()
    total: dict[str, int] = field(default_factory=lambda: {"cpu": 16 * GIB})
    used: Callable[[], Mapping[str, int]] = dict
    readings: int = 0
    is_closed: bool = False
    failure: Exception | None = None

    async def devices(self) -> tuple[Device, ...]:
        await anyio.lowlevel.checkpoint()
        return self.gpus

    async def measure(self) -> Reading:
        await anyio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        self.readings += 1
        used = self.used()
        return Reading({pool: size - used.get(pool, 0) for pool, size in self.total.items()}, dict(self.total))

    async def process_memory(self, pid: int) -> Mapping[str, int]:
        await anyio.lowlevel.checkpoint()
        return {}

    def close(self) -> None:
        self.is_closed = True


class FakeRunner:
    def __init__(self, plan: LaunchPlan, pid: int) -> None:
        self.plan = plan
        self.pid = pid
        self.pulse = Pulse(
            active=0, waiting=0, used_tokens=7, prompt_tokens_per_second=0.0, tokens_per_second=2.5, generated_tokens=0
        )
        self.loaded = Loaded(
            context_tokens=plan.context_tokens,
            slots=plan.slots,
            train_context_tokens=8192,
            vocab_size=100,
            add_bos=True,
        )
        self.stops = 0
        self.failure: Exception | None = None  # what waiting for the end raises
        self._ended = anyio.Event()
        self._outcome = ""

    @property
    def is_alive(self) -> bool:
        return not self._ended.is_set()

    def rss_bytes(self) -> int:
        return 0

    async def wait(self) -> str:
        await self._ended.wait()
        if self.failure is not None:
            raise self.failure
        return self._outcome

    async def stop(self) -> None:
        self.stops += 1
        self.end("The model was unloaded.")
        await anyio.lowlevel.checkpoint()

    def end(self, outcome: str) -> None:
        if self.is_alive:
            self._outcome = outcome
            self._ended.set()


class FakeStarts:
    """Starts runners. Those whose path is `held` wait for `let_go`; those in `failures` raise, once per error."""

    def __init__(self) -> None:
        self.plans: list[LaunchPlan] = []
        self.runners: list[FakeRunner] = []
        self.cancelled: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        self._gates: dict[str, anyio.Event] = {}
        self._progress: dict[str, Callable[[float], None]] = {}

    async def __call__(
        self, plan: LaunchPlan, *, task_group: TaskGroup, on_progress: Callable[[float], None]
    ) -> FakeRunner:
        self.plans.append(plan)
        self._progress[plan.model_path] = on_progress
        try:
            await anyio.lowlevel.checkpoint()
            if plan.model_path in self._gates:
                await self._gates[plan.model_path].wait()
        except BaseException:
            self.cancelled.append(plan.model_path)
            raise
        if self.failures.get(plan.model_path):
            raise self.failures[plan.model_path].pop(0)
        runner = FakeRunner(plan, pid=100 + len(self.runners))
        self.runners.append(runner)
        return runner

    def hold(self, path: str) -> None:
        self._gates[path] = anyio.Event()

    def let_go(self, path: str) -> None:
        self._gates.pop(path).set()

    def progress(self, path: str, fraction: float) -> None:
        self._progress[path](fraction)

    @property
    def alive(self) -> list[str]:
        return [runner.plan.model_path for runner in self.runners if runner.is_alive]


def spec(path: str, weights_bytes: int = GIB, **fields: Any) -> ModelSpec:
    shape = ModelShape(weights_bytes=weights_bytes, context_length=8192)
    return ModelSpec(**{"name": f"{path}:latest", "digest": f"d-{path}", "path": path, "shape": shape, **fields})


def order(key: str, need: Mapping[str, int] | int = 1, *, fallback: int | None = None, **setup: Any) -> Order:
    """An order for the policy; a bare number is bytes of system memory."""

    def candidate(amount: Mapping[str, int] | int) -> Candidate:
        return Candidate(LaunchPlan(model_path=key), {"cpu": amount} if isinstance(amount, int) else amount)

    smaller = () if fallback is None else (candidate(fallback),)
    return Order(key, Setup(**setup), (candidate(need),), fallback=smaller, name=key)
