"""Runners of small models, each given to llama.cpp as it is or translated."""

from __future__ import annotations

import os
import pathlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from server.messages.frames import LaunchPlan
from server.runner import Runner

Running = Callable[..., AbstractAsyncContextManager[Runner]]


@pytest.fixture(scope="session")
def cpu_cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("cpu")


@pytest.fixture
def running(cpu_cache: pathlib.Path) -> Running:
    """`async with running(model_path=…, …) as runner`: it is gone afterwards, and so is what it wrote."""

    def leftovers() -> list[pathlib.Path]:
        return list(cpu_cache.glob("puna-translated-*"))

    @asynccontextmanager
    async def run(**plan: Any) -> AsyncIterator[Runner]:
        async with anyio.create_task_group() as tasks:
            runner = await Runner.start(
                LaunchPlan(**{"context_tokens": 512, "threads": 1, **plan}),
                task_group=tasks,
                environ=dict(os.environ),
                cache_dir=cpu_cache,
            )
            try:
                assert not leftovers()
                yield runner
            finally:
                with anyio.CancelScope(shield=True):
                    await runner.stop()

    return run
