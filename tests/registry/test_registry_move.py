"""Pulls and a model folder on its way elsewhere."""

from __future__ import annotations

import pathlib
import random

import anyio
import anyio.to_thread
import pytest

from server.errors import FolderMoving
from server.messages.chat import Progress
from server.store.moving import Mover
from tests.registry.conftest import World, until

pytestmark = pytest.mark.anyio

DATA = random.Random(1).randbytes(1_000_000)


async def test_a_pull_ends_before_the_folder_moves_and_another_waits(world: World, tmp_path: pathlib.Path) -> None:
    weights = world.remote.add(DATA)
    world.remote.publish(weights)
    new = tmp_path / "elsewhere"
    mover = Mover(world.store, state_folder=tmp_path / "state", switch=lambda _folder: None)
    statuses: list[str] = []

    def tell(progress: Progress) -> None:
        statuses.append(progress.status)

    world.limits.change(bytes_per_second=200_000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.pull)
        await until(lambda: any("partial" in name for name in world.files))
        tasks.start_soon(anyio.to_thread.run_sync, mover.move, new, tell)
        await until(lambda: "waiting for downloads and creations to end" in statuses)
        with pytest.raises(FolderMoving, match="are being moved to"):
            await world.pull()
        world.limits.change(bytes_per_second=0)
    assert statuses[-1] == "success"
    assert world.store.root == new
    assert [model.name for model in world.store.list()] == [world.name()]
    assert world.blob(weights["digest"]) == DATA
    assert not [name for name in world.files if "partial" in name]
    await world.pull()
