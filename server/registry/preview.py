"""What a pull would bring, known before its bytes flow: for a word on whether the model will fit."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import anyio.to_thread

from server.errors import InvalidGguf
from server.messages.names import ModelName
from server.registry.parts import Part
from server.registry.remote_manifest import Fetched, fetch_manifest
from server.registry.session import Session
from server.registry.source import BlobSource
from server.store import manifest
from server.store.gguf import GgufHeader, read_header
from server.store.manifest import Layer, Manifest

FIRST_BYTES = 512 * 1024
MOST_BYTES = 64 * 1024 * 1024


class Preview:
    """`header` is None where the model has no weights, or none whose header can be read."""

    def __init__(self, fetched: Fetched, header: GgufHeader | None) -> None:
        self.manifest: Manifest = fetched.manifest
        self.header = header

    @property
    def size(self) -> int:
        """Bytes of all layers."""
        return self.manifest.size


async def preview(session: Session, name: ModelName) -> Preview:
    """Raises RegistryError, Unsupported."""
    fetched = await fetch_manifest(session, name)
    weights = [layer for layer in fetched.manifest.layers if layer.media_type == manifest.MODEL and layer.size]
    return Preview(fetched, await _header(session, weights[-1]) if weights else None)


async def _header(session: Session, layer: Layer) -> GgufHeader | None:
    """Read from the beginning of the file, of which more is fetched until the header ends."""
    source = BlobSource(session, layer.digest, layer.size)
    with tempfile.TemporaryDirectory(prefix="puna-preview-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "header.gguf"
        known, wanted = 0, min(FIRST_BYTES, layer.size)
        while True:
            async with aclosing(_range(source, layer, known, wanted)) as pieces:
                async for piece in pieces:
                    await anyio.to_thread.run_sync(_append, path, known, piece)
                    known += len(piece)
            header = await anyio.to_thread.run_sync(_read, path, known, layer.size)
            if header is not None or known >= min(layer.size, MOST_BYTES):
                return header
            wanted = min(2 * known, layer.size, MOST_BYTES)


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


def _append(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(data)


def _read(path: Path, known: int, total: int) -> GgufHeader | None:
    """The header, if it ends within the first `known` bytes. The file gets its true size, with nothing in the rest."""
    with path.open("r+b") as file:
        file.truncate(total)
    try:
        header = read_header(path)
    except (InvalidGguf, OSError):
        return None
    return header if header.data_offset <= known else None
