"""What a pull would bring, known before its bytes flow: for a word on whether the model will fit."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio.to_thread
import msgspec

from server.errors import InvalidGguf
from server.messages.names import ModelName
from server.registry.parts import Part
from server.registry.remote_manifest import Fetched, fetch_manifest
from server.registry.session import Session
from server.registry.source import BlobSource
from server.store import manifest
from server.store.gguf import HEADER_BYTES, read_header_prefix
from server.store.manifest import Layer

FIRST_BYTES = 512 * 1024


class Preview(msgspec.Struct, frozen=True):
    """`total_bytes` of all layers. `prefix` is the beginning of the weights' file of `weights_bytes`, as much as its
    header takes, and empty where the model has none; `projector_prefix` that of its first projector."""

    total_bytes: int
    weights_bytes: int = 0
    prefix: bytes = b""
    projector_bytes: int = 0
    projector_prefix: bytes = b""


async def preview(session: Session, name: ModelName) -> Preview:
    """Raises RegistryError, Unsupported."""
    return await preview_of(session, await fetch_manifest(session, name))


async def preview_of(session: Session, fetched: Fetched) -> Preview:
    """Raises RegistryError."""
    size = fetched.manifest.size
    weights = [layer for layer in fetched.layers if layer.media_type == manifest.MODEL and layer.size]
    if not weights:
        return Preview(size)
    layer = weights[-1]
    found = Preview(size, layer.size, await _header_bytes(session, layer))
    projector = next((each for each in fetched.layers if each.media_type == manifest.PROJECTOR and each.size), None)
    if projector is None:
        return found
    prefix = await _header_bytes(session, projector)
    return msgspec.structs.replace(found, projector_bytes=projector.size, projector_prefix=prefix)


async def _header_bytes(session: Session, layer: Layer) -> bytes:
    """The beginning of a file, of which more is fetched until the header ends or is larger than any known one."""
    source = BlobSource(session, layer.digest, layer.size)
    known = bytearray()
    most = min(layer.size, HEADER_BYTES)
    wanted = min(FIRST_BYTES, most)
    while True:
        async with aclosing(_range(source, layer, len(known), wanted)) as pieces:
            async for piece in pieces:
                known += piece
        prefix = bytes(known)
        if len(prefix) >= most or await anyio.to_thread.run_sync(_is_enough, prefix, layer.size):
            return prefix
        wanted = min(2 * len(known), most)


async def _range(source: BlobSource, layer: Layer, begin: int, end: int) -> AsyncGenerator[bytes, None]:
    """A registry without ranges begins at the beginning, and is left as soon as there is enough."""
    is_whole = begin == 0 and end == layer.size
    part = Part(number=0, offset=0, size=layer.size) if is_whole else Part(number=0, offset=begin, size=end - begin)
    missing = end - begin
    async with source.open(part) as reply:
        async for piece in reply.pieces():
            yield piece[:missing]
            missing -= len(piece)
            if missing <= 0:
                return


def _is_enough(prefix: bytes, file_bytes: int) -> bool:
    """A file that is no GGUF is not read any further either."""
    try:
        return read_header_prefix(prefix, file_bytes) is not None
    except InvalidGguf:
        return True
