"""One blob on its way out: an upload session, its parts one after the other or, where the registry redirects them, side
by side, and what ends it.

Source: the OCI distribution protocol, with the redirected parts and the part checksums of Ollama's registry.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode, urljoin, urlsplit, urlunsplit

import anyio
import anyio.to_thread

from server.errors import PunaError, RegistryError
from server.messages.chat import Progress
from server.messages.names import ModelName
from server.net.transport import NetworkFailure, Reply, redirected
from server.registry.download import LINE_SECONDS
from server.registry.limits import Limits
from server.registry.parts import Part, layout
from server.registry.patience import Patience, may_pass
from server.registry.session import Refused, Session, check
from server.store.files import store_errors
from server.store.manifest import Layer

log = logging.getLogger(__name__)

READ_BYTES = 512 * 1024
_BINARY = "application/octet-stream"
_ARRIVED = re.compile(r"(?:bytes=)?0-(\d{1,19})")


class SessionLost(NetworkFailure):
    """The upload must begin again."""


class Upload:
    """`follow` runs it and tells its progress. Leaving early ends it; the registry forgets the session by itself."""

    def __init__(self, session: Session, layer: Layer, path: Path, patience: Patience, limits: Limits) -> None:
        self._session = session
        self._layer = layer
        self._path = path
        self._patience = patience
        self._limits = limits
        self._parts = layout(layer.size)
        self._checksums: dict[int, bytes] = {}
        self._next_url = ""
        self._ended = anyio.Event()

    @property
    def completed(self) -> int:
        return sum(part.completed for part in self._parts)

    async def follow(self, status: str) -> AsyncGenerator[Progress, None]:
        """Raises RegistryError, StoreError."""
        layer, told, failures = self._layer, -1, list[Exception]()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._guarded, self._run, failures, tasks.cancel_scope)
            try:
                while not self._ended.is_set():
                    if self.completed != told:
                        told = self.completed
                        yield Progress(status=status, digest=layer.digest, total=layer.size, completed=told)
                    with anyio.move_on_after(LINE_SECONDS):
                        await self._ended.wait()
            finally:
                tasks.cancel_scope.cancel()
        if failures:
            raise failures[0]
        if told != layer.size:
            yield Progress(status=status, digest=layer.digest, total=layer.size, completed=layer.size)

    async def _guarded(
        self, work: Callable[[], Awaitable[None]], failures: list[Exception], scope: anyio.CancelScope
    ) -> None:
        try:
            await work()
        except Exception as error:  # as itself, not inside a group of exceptions
            failures.append(error)
            scope.cancel()
        finally:
            if work == self._run:
                self._ended.set()

    # ---- the session -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        while not await self._begin():
            try:
                await self._send_all()
                await self._end()
                return
            except SessionLost as error:
                failures += 1
                await self._wait(failures, error)
                self._parts = layout(self._layer.size)

    async def _send_all(self) -> None:
        failures: list[Exception] = []
        room = anyio.Semaphore(self._limits.parts)
        with self._open() as file:
            async with anyio.create_task_group() as tasks:
                for part in self._parts:
                    await room.acquire()
                    released = anyio.Event()
                    work = functools.partial(self._send, file, part, released, room)
                    tasks.start_soon(self._guarded, work, failures, tasks.cancel_scope)
                    await released.wait()
        if failures:
            raise failures[0]

    def _open(self) -> BinaryIO:
        with store_errors("read a part of the model"):
            return self._path.open("rb", buffering=0)

    async def _begin(self) -> bool:
        """Ask for a session; true where the registry took the blob from another of its repositories instead."""
        query = {"mount": self._layer.digest, "from": repository(self._layer.source)} if self._layer.source else {}
        url = self._session.url("blobs/uploads/") + (
            f"?{urlencode(query, quote_via=quote, safe='/:')}" if query else ""
        )
        reply, _ = await self._session.fetch("POST", url, content=b"")
        if reply.status == 201:
            return True
        self._next_url = _location(reply)
        return False

    async def _end(self) -> None:
        checksum = hashlib.md5(b"".join(self._checksums[part.number] for part in self._parts), usedforsecurity=False)
        fields = {"digest": self._layer.digest, "etag": f"{checksum.hexdigest()}-{len(self._parts)}"}
        failures = 0
        while True:
            try:
                url = _with_query(self._next_url, fields)
                await self._session.fetch("PUT", url, content=b"")
                return
            except RegistryError as error:
                failures += 1
                await self._wait(failures, error)

    # ---- one part --------------------------------------------------------------------------------------------------

    async def _send(self, file: BinaryIO, part: Part, released: anyio.Event, room: anyio.Semaphore) -> None:
        """`released` is set as soon as the next part may begin."""
        failures, url = 0, self._next_url
        try:
            while True:
                try:
                    await self._attempt(file, part, url, released)
                    return
                except RegistryError as error:
                    failures += 1
                    await self._wait(failures, error)
                    part.completed = 0 if released.is_set() else await self._arrived(part, url)
                    url = url if released.is_set() else self._next_url
        finally:
            released.set()
            room.release()

    async def _attempt(self, file: BinaryIO, part: Part, url: str, released: anyio.Event) -> None:
        first = part.at
        fields = {
            "Content-Type": _BINARY,
            "Content-Length": str(part.end - first),
            "Content-Range": f"{first}-{part.end - 1}",
            "X-Redirect-Uploads": "1",
        }
        async with self._session.send("PATCH", url, fields, self._bytes(file, part)) as reply:
            if reply.status != 307:
                await _check(reply)
                self._next_url = _location(reply)
                return
            self._next_url = _location(reply, default=self._next_url)
            target = redirected(reply)
        released.set()
        part.completed = 0
        fields = {"Content-Type": _BINARY, "Content-Length": str(part.size)}
        async with self._session.send("PUT", target, fields, self._bytes(file, part)) as reply:
            await _check(reply)

    async def _bytes(self, file: BinaryIO, part: Part) -> AsyncIterator[bytes]:
        """The rest of a part, with the checksum of the whole."""
        checksum = hashlib.md5(usedforsecurity=False)
        at, sent_before = part.offset, part.at
        while at < part.end:
            data = await anyio.to_thread.run_sync(_read_at, file, at, min(READ_BYTES, part.end - at))
            checksum.update(data)
            if fresh := data[max(0, sent_before - at) :]:
                yield fresh
                part.completed = at + len(data) - part.offset
            at += len(data)
        self._checksums[part.number] = checksum.digest()

    async def _arrived(self, part: Part, url: str) -> int:
        """How many bytes of a part the registry has after a connection broke off. Raises SessionLost where it does not
        say: what is sent then could be in the file twice."""
        async with self._session.send("GET", url) as reply:
            match = _ARRIVED.fullmatch(reply.headers.get("range", ""))
            if reply.status != 204 or match is None:
                raise SessionLost(f"{reply!r} does not say how much has arrived")
            self._next_url = _location(reply, default=self._next_url)
        end = int(match[1]) + 1 if int(match[1]) else 0  # registries say 0-0 of nothing
        return min(max(end - part.offset, 0), part.size)

    async def _wait(self, failures: int, error: RegistryError) -> None:
        """Raises what cannot pass, or has been the last attempt."""
        is_expired = isinstance(error, Refused) and error.code == 401 and failures < 2
        if not may_pass(error) and not is_expired:
            raise error
        if failures >= self._patience.attempts:
            raise RegistryError(f"max retries exceeded: {error}", log=error.log)
        log.info("upload of %s: %s", self._layer.digest, error.log)
        await anyio.sleep(self._patience.pause_seconds(failures, error))


def repository(source: str) -> str:
    """`namespace/model` of a short name."""
    name = ModelName.parse(source)
    return f"{name.namespace}/{name.model}"


async def _check(reply: Reply) -> None:
    """Raises Refused in the words of an upload."""
    try:
        await check(reply)
    except Refused as error:
        if error.code not in (401, 404):
            error.args = (f"http status {error}",)
        raise
    if reply.status >= 300:
        raise RegistryError(f"{reply!r} is no answer to an upload")


def _location(reply: Reply, default: str = "") -> str:
    found = reply.headers.get("docker-upload-location") or reply.headers.get("location") or ""
    if not found and not default:
        raise RegistryError(f"{reply!r} does not say where the upload goes on")
    return urljoin(reply.url, found) if found else default


def _with_query(url: str, fields: dict[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(fields))))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    """Parts are read side by side. Raises StoreError."""
    with store_errors("read a part of the model"):
        if hasattr(os, "pread"):
            data = os.pread(file.fileno(), count, offset)
        else:
            file.seek(offset)
            data = file.read(count)
    if not data:
        raise PunaError("a part of the model became shorter while it was sent; pull or create it again")
    return data
