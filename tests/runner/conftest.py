"""Real runner processes over the small models."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.messages.frames import LaunchPlan
from server.runner import Runner

Running = Callable[..., AbstractAsyncContextManager[Runner]]


@pytest.fixture(scope="session")
def cpu_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trial of the CPU variants for all tests of a worker."""
    return tmp_path_factory.mktemp("cpu")


@pytest.fixture
def running(models: Path, cpu_cache: Path) -> Running:
    """`async with running(context_tokens=…, …) as runner`: a runner of scripted.gguf that is gone afterwards."""

    @asynccontextmanager
    async def run(
        model: str = "scripted.gguf",
        *,
        command: Sequence[str] | None = None,
        silence: float = 60.0,
        stuck: float = 60.0,
        **plan: Any,
    ) -> AsyncIterator[Runner]:
        plan = {"context_tokens": 512, "slots": 2, "threads": 1, **plan}
        async with anyio.create_task_group() as tasks:
            runner = await Runner.start(
                LaunchPlan(model_path=str(models / model), **plan),
                task_group=tasks,
                environ=dict(os.environ),
                cache_dir=cpu_cache,
                load_timeout_seconds=silence,
                stuck_seconds=stuck,
                command=command,
            )
            try:
                yield runner
            finally:
                with anyio.CancelScope(shield=True):
                    await runner.stop()

    return run


@pytest.fixture
def fake_engine(tmp_path: Path) -> Callable[[str], list[str]]:
    """A command that runs `code` in place of the engine, with the frames' names at hand."""

    def make(code: str) -> list[str]:
        path = tmp_path / "fake_engine.py"
        header = f"import os, select, signal, sys\nsys.path.insert(0, {os.getcwd()!r})\n"
        path.write_text(f"{header}from server.messages.frames import *\n{code}\n")
        return [sys.executable, str(path)]

    return make
