"""A pull, from name to installed model, as a stream of progress."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing

import anyio.to_thread

from server.errors import ModelNotFound, PunaError, RegistryError, StoreError
from server.messages.chat import Progress
from server.messages.names import ModelName
from server.registry.download import short
from server.registry.downloads import Downloads
from server.registry.preview import Preview, preview_of
from server.registry.remote_manifest import Fetched, fetch_manifest
from server.registry.session import Session
from server.store import Store
from server.store.manifest import MODEL, Layer, decode_manifest

log = logging.getLogger(__name__)

READING = "pulling manifest"

Foretell = Callable[[Preview], Awaitable[str]]


class Foretold(Progress, frozen=True, kw_only=True):
    """Said once before the first byte: how much will come, and a sentence on whether the model will fit."""

    download_bytes: int
    fit: str


async def pull(
    store: Store, downloads: Downloads, session: Session, name: ModelName, foretell: Foretell | None = None
) -> AsyncGenerator[Progress, None]:
    """Raises RegistryError, DiskFull, StoreError and what else its downloads end with. What has come then is kept. A
    model folder that is being moved waits for the end of it. `foretell` makes the sentence of Foretold."""
    with store.blobs.gate.visit():
        async with aclosing(_pull(store, downloads, session, name, foretell)) as lines:
            async for line in lines:
                yield line


async def _pull(
    store: Store, downloads: Downloads, session: Session, name: ModelName, foretell: Foretell | None
) -> AsyncGenerator[Progress, None]:
    yield Progress(status=READING)
    fetched = await fetch_manifest(session, name)
    missing = await anyio.to_thread.run_sync(_missing, store, fetched.layers)
    if foretell is not None and (told := await _foretold(session, fetched, missing, foretell)):
        yield told
    await anyio.to_thread.run_sync(downloads.check_space, missing, name.short)
    for layer in fetched.layers:
        if await anyio.to_thread.run_sync(_is_there, store, layer):
            yield Progress(
                status=f"pulling {short(layer.digest)}", digest=layer.digest, total=layer.size, completed=layer.size
            )
            continue
        async with aclosing(downloads.fetch(session, layer, name.short)) as lines:
            async for line in lines:
                yield line
    yield Progress(status="verifying sha256 digest")
    yield Progress(status="writing manifest")
    unused = await anyio.to_thread.run_sync(_install, store, name, fetched)
    if unused:
        yield Progress(status="removing unused layers")
        if problem := await anyio.to_thread.run_sync(_release, store, unused):
            yield Progress(status=problem)
    yield Progress(status="success")


async def _foretold(session: Session, fetched: Fetched, missing: list[Layer], foretell: Foretell) -> Foretold | None:
    """A word before the bytes flow, never an obstacle: what is wrong, the download itself says better."""
    if not any(layer.media_type == MODEL for layer in missing):
        return None
    try:
        told = await foretell(await preview_of(session, fetched))
    except PunaError as error:
        log.info("whether the model will fit is not known: %s", error.log)
        return None
    size = sum(layer.size for layer in {layer.digest: layer for layer in missing}.values())
    return Foretold(status=READING, download_bytes=size, fit=told) if told else None


def _missing(store: Store, layers: Iterable[Layer]) -> list[Layer]:
    return [layer for layer in layers if not _is_there(store, layer)]


def _is_there(store: Store, layer: Layer) -> bool:
    """Whole, as far as its size tells; its time is set to now, so that no sweep takes it before the manifest does."""
    try:
        return os.stat(store.blobs.path(layer.digest)).st_size == layer.size and store.blobs.touch(layer.digest)
    except OSError:
        return False


def _install(store: Store, name: ModelName, fetched: Fetched) -> frozenset[str]:
    """Write the manifest as it came; the blobs that nothing but the one before it may have needed."""
    with store.changing():
        if gone := _missing(store, fetched.layers):
            raise RegistryError(
                "a part of the model vanished from the model folder while the rest was downloaded; pull it again",
                log=f"{name.full}: {[layer.digest for layer in gone]} vanished",
            )
        name = store.manifests.resolve(name)
        before = _digests_of(store, name)
        store.manifests.write(name, fetched.data)
        unused = before - fetched.manifest.digests
        return frozenset() if store.noprune or not unused else frozenset(unused - store.manifests.used_digests())


def _digests_of(store: Store, name: ModelName) -> frozenset[str]:
    try:
        return decode_manifest(store.manifests.read(name)[0]).digests
    except (ModelNotFound, StoreError):
        return frozenset()


def _release(store: Store, unused: frozenset[str]) -> str:
    """What went wrong, "" for nothing: the model is installed whatever happens here."""
    try:
        with store.changing():
            store.release(unused)
    except PunaError as error:
        return f"couldn't remove unused layers: {error}"
    return ""
