"""A runner that answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio.to_thread

from server.errors import RunnerDied
from server.inference.catalog import Entry
from server.inference.checks import check_local
from server.messages.frames import Loaded
from server.messages.options import RunnerOptions, read_options
from server.scheduler import Lease, Scheduler


@asynccontextmanager
async def lend(
    scheduler: Scheduler,
    entry: Entry,
    options: RunnerOptions,
    *,
    shift: bool | None = None,
    keep_alive_seconds: float | None = None,
) -> AsyncGenerator[Lease, None]:
    """A lease on a runner of a model, which is loaded now if need be.

    A runner that died a moment ago may still be lent, because its end is not known yet; then a new one is asked for,
    once.
    """
    await check_files(entry)
    for is_last in (False, True):
        async with scheduler.lease(entry.spec, options, shift=shift, keep_alive_seconds=keep_alive_seconds) as lease:
            try:
                await lease.runner.tokenize("")
            except RunnerDied:
                if is_last:
                    raise
                continue
            yield lease
            return


async def loaded_as(scheduler: Scheduler, name: str, entry: Entry) -> Loaded:
    """What a model is run as, however the last request had it loaded; it is loaded now if it is not. `name` is as it
    was sent."""
    check_local(name, entry)
    found = scheduler.loaded(entry.spec.path)
    if found is not None:
        return found
    async with lend(scheduler, entry, read_options(entry.model.params).runner) as lease:
        return lease.loaded


async def check_files(entry: Entry) -> None:
    """Raises LinkedFileLost where a file of the model that belongs to another program is gone or has changed."""
    if entry.model.linked:
        await anyio.to_thread.run_sync(entry.model.check_files)
