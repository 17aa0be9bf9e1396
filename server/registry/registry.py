"""What the server does with registries: pull, push, and the downloads that this leaves."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from types import TracebackType

import anyio
import anyio.abc
import anyio.to_thread

from server.errors import PunaError, ServerStopping
from server.messages.chat import Progress
from server.messages.names import ModelName
from server.net.addresses import AddressPolicy
from server.net.transport import Transport
from server.registry import pull, push
from server.registry.downloads import Downloads
from server.registry.key import RegistryKey
from server.registry.limits import Limits
from server.registry.notes import Notes
from server.registry.patience import Patience
from server.registry.preview import Preview, preview
from server.registry.session import Session
from server.store import Store

log = logging.getLogger(__name__)


class Registry:
    """Enter it once; downloads run in its task group. `notes_path` is the file that remembers whose they are."""

    def __init__(
        self,
        store: Store,
        *,
        policy: AddressPolicy,
        limits: Limits,
        notes_path: Path,
        key: RegistryKey | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.limits = limits
        self._store = store
        self._key = key or RegistryKey()
        self._patience = patience or Patience()
        self._transport = Transport(policy, silence_seconds=self._patience.silence_seconds)
        self._notes = Notes(notes_path)
        self._tasks = anyio.create_task_group()
        self.downloads = Downloads(self._tasks, store.blobs, limits, self._patience, self._notes)

    def __repr__(self) -> str:
        return f"<registry client, {self.downloads!r}, {self.limits!r}>"

    async def __aenter__(self) -> Registry:
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._make_key)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        await self.close()
        try:
            return await self._tasks.__aexit__(kind, error, trace)
        finally:
            with anyio.CancelScope(shield=True):
                await self._transport.close()

    async def close(self) -> None:
        """End all downloads; what has come is kept."""
        self.downloads.cancel_all(ServerStopping())

    async def pull(
        self, name: ModelName, *, insecure: bool = False, foretell: pull.Foretell | None = None
    ) -> AsyncGenerator[Progress, None]:
        """Progress until the model is installed. Raises PunaErrors; leaving early keeps what has come. `foretell`: what
        to say of the model before its bytes flow."""
        async for line in pull.pull(self._store, self.downloads, self._session(name, insecure), name, foretell):
            yield line

    async def push(self, name: ModelName, *, insecure: bool = False) -> AsyncGenerator[Progress, None]:
        """Progress until the registry has the model. Raises PunaErrors."""
        async for line in push.push(self._store, self._session(name, insecure), name, self._patience, self.limits):
            yield line

    async def preview(self, name: ModelName, *, insecure: bool = False) -> Preview:
        """What a pull would bring: the manifest, and the header of the weights, read before anything is downloaded."""
        return await preview(self._session(name, insecure), name)

    def _session(self, name: ModelName, insecure: bool) -> Session:
        return Session(self._transport, self._key, name, insecure=insecure)

    async def _make_key(self) -> None:
        """At a start, as Ollama does: people give the public half to a registry before they first pull."""
        try:
            if line := await anyio.to_thread.run_sync(self._key.ensure):
                log.info("Couldn't find '%s'. Generating new private key.", self._key.path)
                log.info("Your new public key is: %s", line)
        except (PunaError, OSError) as error:
            log.warning("no key for registries could be made: %s", getattr(error, "log", error))
