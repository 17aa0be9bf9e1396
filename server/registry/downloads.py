"""All downloads of this server: one per file, shared by everyone who wants it, and what is left of earlier ones."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Literal

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from server.errors import Cancelled, DiskFull, DownloadRuns, NotFound, PunaError, RegistryError
from server.messages.chat import Progress
from server.registry import partial
from server.registry.download import Download
from server.registry.limits import Limits
from server.registry.notes import Notes
from server.registry.patience import Patience
from server.registry.session import Session
from server.registry.source import BlobSource
from server.store import digests
from server.store.blobs import RESERVE_BYTES, Blobs
from server.store.manifest import Layer

CANCELED = "the download was canceled; what has come is kept, and pulling again goes on from there"
log = logging.getLogger(__name__)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is there in part. `model` is who asked for it last, "" where nobody knows."""

    digest: str
    total: int
    completed: int
    state: Literal["running", "kept"]
    model: str = ""


class Downloads:
    """`tasks` is where downloads run: they belong to the server, not to the client that asked first."""

    def __init__(
        self, tasks: anyio.abc.TaskGroup, blobs: Blobs, limits: Limits, patience: Patience, notes: Notes
    ) -> None:
        self._tasks = tasks
        self._blobs = blobs
        self._limits = limits
        self._patience = patience
        self._notes = notes
        self._running: dict[str, Download] = {}

    def __repr__(self) -> str:
        return f"<{len(self._running)} downloads>"

    # ---- fetching --------------------------------------------------------------------------------------------------

    async def fetch(self, session: Session, layer: Layer, model: str) -> AsyncGenerator[Progress, None]:
        """The progress of a layer's download, begun or joined. Whoever leaves last ends it; what is there stays."""
        digest = digests.normal(layer.digest)
        while (running := self._running.get(digest)) is not None and running.is_leaving:
            await running.ended.wait()
        download = running or self._begin(session, layer, digest)
        download.followers += 1  # before anything is waited for: who leaves meanwhile must not be the last
        try:
            await anyio.to_thread.run_sync(self._notes.add, digest, model)
            async with aclosing(download.follow()) as lines:
                async for line in lines:
                    yield line
        finally:
            download.followers -= 1
            if not download.followers and not download.ended.is_set():
                download.cancel()

    def _begin(self, session: Session, layer: Layer, digest: str) -> Download:
        source = BlobSource(session, digest, layer.size)
        download = Download(digest, layer.size, source, self._blobs, self._limits, self._patience)
        self._running[digest] = download
        self._tasks.start_soon(self._run, download)
        return download

    async def _run(self, download: Download) -> None:
        try:
            await download.run()
        finally:
            # In the same step in which it ends: nobody joins what is over.
            del self._running[download.digest]
        if download.error is None:
            await anyio.to_thread.run_sync(self._notes.remove, download.digest)

    def check_space(self, layers: Iterable[Layer], model: str) -> None:
        """Before the first byte: what is missing of the layers, and of what runs already, must fit. Blocking.
        Raises DiskFull."""
        wanted = {digests.normal(layer.digest): layer.size for layer in layers}
        for digest, download in list(self._running.items()):
            wanted[digest] = download.total
        missing = sum(total - partial.kept_bytes(self._blobs.path(digest), total) for digest, total in wanted.items())
        try:
            self._blobs.check_space(missing)
        except DiskFull as error:
            raise DiskFull(
                f"there is not enough space for {model}: the disk of the model folder has "
                f"{_gigabytes(self._blobs.free_bytes)} free, and {_gigabytes(missing + RESERVE_BYTES)} are needed. "
                "Nothing was downloaded; make room, or choose another folder (OLLAMA_MODELS)",
                log=error.log,
            ) from error

    # ---- what is there ---------------------------------------------------------------------------------------------

    def list(self) -> list[Kept]:
        """Running downloads and what is left of earlier ones, by digest. Blocking."""
        models = self._notes.read()
        kept = {self._digest(blob): (total, partial.kept_bytes(blob, total)) for blob, total in self._kept_blobs()}
        states: dict[str, Literal["running", "kept"]] = {}
        for digest, download in list(self._running.items()):
            kept[digest] = download.total, download.completed
            states[digest] = "running"
        return [
            Kept(
                digest=digest,
                total=total,
                completed=completed,
                state=states.get(digest, "kept"),
                model=models.get(digest, ""),
            )
            for digest, (total, completed) in sorted(kept.items())
        ]

    def clear(self, digest: str) -> int:
        """Remove what is there of one file; the bytes freed. Blocking. Raises InvalidDigest, NotFound, DownloadRuns."""
        digest = digests.normal(digest)
        if digest in self._running:
            raise DownloadRuns("this file is being downloaded; cancel that first")
        if digest not in {self._digest(blob) for blob, _ in self._kept_blobs()}:
            raise NotFound("nothing of this file is there")
        with self._blobs.gate.visit():
            freed = partial.clear(self._blobs.path(digest))
        self._notes.remove(digest)
        return freed

    def clear_all(self) -> int:
        """Remove what is there of every file that nobody downloads; the bytes freed. Blocking."""
        freed = 0
        for kept in self.list():
            try:
                freed += self.clear(kept.digest)
            except PunaError as error:
                log.info("%s stays: %s", kept.digest, error.log)
        return freed

    def cancel(self, digest: str) -> None:
        """End a download for everybody; what is there stays. Raises InvalidDigest, NotFound."""
        download = self._running.get(digests.normal(digest))
        if download is None:
            raise NotFound("this file is not being downloaded")
        download.cancel(RegistryError(CANCELED, status=Cancelled.status))

    def cancel_all(self, error: PunaError) -> None:
        for download in list(self._running.values()):
            download.cancel(error)

    def _kept_blobs(self) -> Iterable[tuple[Path, int]]:
        return partial.kept_blobs(self._blobs.folder)

    @staticmethod
    def _digest(blob: Path) -> str:
        return digests.normal(blob.name)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
