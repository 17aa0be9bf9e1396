"""A push, from stored model to registry, as a stream of progress."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio.to_thread

from server.errors import ModelNotFound, StoreError
from server.messages.chat import Progress
from server.messages.names import ModelName
from server.registry.download import short
from server.registry.limits import Limits
from server.registry.patience import Patience
from server.registry.session import Refused, Session
from server.registry.upload import Upload
from server.store import Store
from server.store.manifest import MANIFEST_TYPE, Layer, Manifest, decode_manifest


async def push(
    store: Store, session: Session, name: ModelName, patience: Patience, limits: Limits
) -> AsyncGenerator[Progress, None]:
    """Raises ModelNotFound, RegistryError, StoreError."""
    yield Progress(status="retrieving manifest")
    data, manifest = await anyio.to_thread.run_sync(_read, store, name)
    for layer in _layers(manifest):
        status = f"pushing {short(layer.digest)}"
        if await has_blob(session, layer.digest):
            yield Progress(status=status, digest=layer.digest, total=layer.size, completed=layer.size)
            continue
        upload = Upload(session, layer, store.blobs.path(layer.digest), patience, limits)
        async with aclosing(upload.follow(status)) as lines:
            async for line in lines:
                yield line
    yield Progress(status="pushing manifest")
    await session.fetch("PUT", session.url(f"manifests/{name.tag}"), {"Content-Type": MANIFEST_TYPE}, data)
    yield Progress(status="success")


async def has_blob(session: Session, digest: str) -> bool:
    """Raises RegistryError."""
    try:
        await session.fetch("HEAD", session.url(f"blobs/{digest}"))
    except Refused as error:
        if error.code == 404:
            return False
        raise
    return True


def _layers(manifest: Manifest) -> list[Layer]:
    return [*manifest.layers, *([manifest.config] if manifest.config.digest else [])]


def _read(store: Store, name: ModelName) -> tuple[bytes, Manifest]:
    """The manifest's file as it is, so that its digest stays, with all its blobs there. Blocking."""
    try:
        data, _ = store.manifests.read(store.manifests.resolve(name))
    except ModelNotFound as error:
        raise ModelNotFound(f"model '{name.short}' not found", log=error.log) from error
    manifest = decode_manifest(data)
    for layer in _layers(manifest):
        try:
            is_whole = os.stat(store.blobs.path(layer.digest)).st_size == layer.size
        except OSError:
            is_whole = False
        if not is_whole:
            raise StoreError(
                f"a part of {name.short} is missing from the model folder or is damaged; pull or create it again",
                log=f"{name.full}: {layer.digest} is not there with {layer.size} bytes",
            )
    return data, manifest
