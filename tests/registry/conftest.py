"""A registry client on an empty store, impatient, with parts of a hundred kilobytes."""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest

from server.messages.chat import Progress
from server.messages.names import ModelName
from server.net.addresses import AddressPolicy
from server.registry import Limits, Registry
from server.registry.key import RegistryKey
from server.registry.patience import Patience
from server.store import Store
from tests.registry.hostile import HostileRegistry, hostile_registry

PART_BYTES = 100_000


@dataclass
class World:
    """`registry` is ours, `remote` the one on the other side."""

    store: Store
    registry: Registry
    remote: HostileRegistry
    limits: Limits
    folder: pathlib.Path

    def name(self, text: str = "lib/m") -> ModelName:
        return ModelName.parse(f"{self.remote.host}/{text}")

    async def pull(self, text: str = "lib/m") -> list[Progress]:
        return [line async for line in self.registry.pull(self.name(text), insecure=True)]

    async def push(self, text: str = "lib/m") -> list[Progress]:
        return [line async for line in self.registry.push(self.name(text), insecure=True)]

    def blob(self, digest: str) -> bytes:
        return self.store.blobs.path(digest).read_bytes()

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.store.blobs.folder.iterdir())


async def until(is_so: Callable[[], bool]) -> None:
    """What other tasks and threads do has no event of its own."""
    with anyio.fail_after(10):
        while not is_so():  # noqa: ASYNC110
            await anyio.sleep(0.005)


@asynccontextmanager
async def make_world(folder: pathlib.Path, remote: HostileRegistry, **options: object) -> AsyncIterator[World]:
    """A second client in the same folder is what a restart of the server makes."""
    store = Store(folder / "models")
    store.prepare()
    limits = Limits(parts=4)
    policy = AddressPolicy(trusts_loopback=bool(options.get("trusts_loopback", True)))
    patience = Patience(attempts=6, first_seconds=0.001, silence_seconds=0.3)
    key = RegistryKey(folder / "key")
    parts = {"policy": policy, "limits": limits, "notes_path": folder / "downloads.json", "patience": patience}
    async with Registry(store, key=key, **parts) as registry:  # type: ignore[arg-type]
        yield World(store, registry, remote, limits, folder)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.registry.parts.LEAST_PART_BYTES", PART_BYTES)


@pytest.fixture
async def remote() -> AsyncIterator[HostileRegistry]:
    async with hostile_registry() as registry:
        yield registry


@pytest.fixture
async def world(tmp_path: pathlib.Path, remote: HostileRegistry) -> AsyncIterator[World]:
    async with make_world(tmp_path, remote) as made:
        yield made
