"""A scheduler on a bench: real shell, fake runners, clients that come and go when the test says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import wait_all_tasks_blocked

from server.errors import PunaError
from server.messages.options import RunnerOptions
from server.scheduler import Lease, Scheduler
from server.settings import Settings
from tests.scheduler.scheduler_fakes import FakeClock, FakeHardware, FakeStarts, spec

DEFAULTS = RunnerOptions()


class Bench:
    """A scheduler among fakes, and clients that hold leases until they are told to leave."""

    def __init__(self, scheduler: Scheduler, starts: FakeStarts, clock: FakeClock, hardware: FakeHardware) -> None:
        self.scheduler, self.starts, self.clock, self.hardware = scheduler, starts, clock, hardware
        self.log: list[str] = []
        self.errors: dict[str, PunaError] = {}
        self.leases: dict[str, Lease] = {}
        self.scopes: dict[str, anyio.CancelScope] = {}
        self._leaving: dict[str, anyio.Event] = {}
        self.tasks: Any = None

    async def client(
        self, who: str, path: str, options: RunnerOptions = DEFAULTS, keep_alive: float | None = None, **fields: Any
    ) -> None:
        """Begin a request and let everything come to rest."""
        self.tasks.start_soon(self._client, who, path, options, keep_alive, fields)
        await wait_all_tasks_blocked()

    async def _client(
        self, name: str, path: str, options: RunnerOptions, keep_alive: float | None, fields: dict[str, Any]
    ) -> None:
        self._leaving[name] = anyio.Event()
        with anyio.CancelScope() as self.scopes[name]:
            try:
                model = spec(path, **fields)
                async with self.scheduler.lease(model, options, keep_alive_seconds=keep_alive) as lease:
                    self.leases[name] = lease
                    self.log.append(f"{name} served")
                    await self._leaving[name].wait()
                self.log.append(f"{name} done")
            except PunaError as error:
                self.errors[name] = error

    async def finish(self, name: str) -> None:
        self._leaving[name].set()
        await wait_all_tasks_blocked()

    async def cancel(self, name: str) -> None:
        self.scopes[name].cancel()
        await wait_all_tasks_blocked()

    async def use(self, path: str, **more: Any) -> None:
        """A whole request."""
        name = f"use {len(self.scopes)}"
        await self.client(name, path, **more)
        await self.finish(name)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await wait_all_tasks_blocked()

    @property
    def loaded(self) -> list[str]:
        return [line.path for line in self.scheduler.running()]


@asynccontextmanager
async def bench(hardware: FakeHardware | None = None, **settings: Any) -> AsyncIterator[Bench]:
    """Afterwards nothing is alive, whatever the test did."""
    starts, clock, hardware = FakeStarts(), FakeClock(), hardware or FakeHardware()
    async with (
        Scheduler(Settings(**settings), hardware, starts, clock) as scheduler,
        anyio.create_task_group() as tasks,
    ):
        made = Bench(scheduler, starts, clock, hardware)
        made.tasks = tasks
        yield made
        tasks.cancel_scope.cancel()
    assert starts.alive == []
    assert repr(scheduler) == "0 runners, 0 loading, 0 waiting"
    assert hardware.is_closed
