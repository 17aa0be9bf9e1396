"""One blob on its way in: parts side by side, hashed as far as they reach without a gap, and everything written down.

A part's connection reads on while another's bytes are written, in threads. The hash follows behind the first gap and
takes the bytes from the system's cache, where they still are; when the last part is there little is left to hash.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import anyio
import anyio.to_thread

from server.errors import Cancelled, PunaError, RegistryError
from server.messages.chat import Progress
from server.net.transport import NetworkFailure, Reply, Stalled
from server.registry.limits import Limits, Signal
from server.registry.partial import Partial
from server.registry.parts import Part, contiguous
from server.registry.patience import Patience, may_pass
from server.registry.source import BlobSource, NoRanges
from server.store.blobs import Blobs

log = logging.getLogger(__name__)

WRITE_BYTES = 512 * 1024
HASH_BYTES = 1024 * 1024
HASH_AT_ONCE_BYTES = 64 * HASH_BYTES
SAVE_SECONDS = 0.5
CHECK_SPACE_BYTES = 64 * 1024 * 1024
LINE_SECONDS = 0.06
QUIET_LINE_SECONDS = 1.0


def short(digest: str) -> str:
    """The twelve digits that a layer is known by on a screen."""
    return digest.removeprefix("sha256:")[:12]


class Download:
    """Run it once, in a task of its own; any number of clients follow its progress."""

    def __init__(
        self, digest: str, total: int, source: BlobSource, blobs: Blobs, limits: Limits, patience: Patience
    ) -> None:
        self.digest = digest
        self.total = total
        self.followers = 0
        self.error: PunaError | None = None
        self.ended = anyio.Event()
        self._opened = anyio.Event()
        self._source = source
        self._blobs = blobs
        self._limits = limits
        self._patience = patience
        self._scope = anyio.CancelScope()
        self._partial: Partial | None = None
        self._news = Signal()
        self._waiting: deque[Part] = deque()
        self._active = 0
        self._unchecked_bytes = 0
        self._hash = hashlib.sha256()
        self._hashed_bytes = 0

    def __repr__(self) -> str:
        return f"<{short(self.digest)}: {self.completed} of {self.total} bytes, {self._active} parts>"

    @property
    def path(self) -> Path:
        return self._blobs.path(self.digest)

    @property
    def completed(self) -> int:
        if self.ended.is_set() and self.error is None:
            return self.total
        return self._partial.completed if self._partial else 0

    @property
    def missing(self) -> int:
        return self.total - self.completed

    @property
    def is_leaving(self) -> bool:
        """It has been cancelled, and is about to end."""
        return self._scope.cancel_called

    def cancel(self, error: PunaError | None = None) -> None:
        """What is there stays. Followers get `error`."""
        self.error = self.error or error or Cancelled()
        self._scope.cancel()

    async def follow(self) -> AsyncGenerator[Progress, None]:
        """Its progress until it has ended; raises what it ended with."""
        status, told, quiet_seconds = f"pulling {short(self.digest)}", -1, 0.0
        await self._opened.wait()  # then it is known what an earlier run has left
        while not self.ended.is_set():
            if self.completed != told or quiet_seconds >= QUIET_LINE_SECONDS:
                told, quiet_seconds = self.completed, 0.0
                yield Progress(status=status, digest=self.digest, total=self.total, completed=told)
            with anyio.move_on_after(LINE_SECONDS):
                await self.ended.wait()
            quiet_seconds += LINE_SECONDS
        if self.error is not None:
            raise self.error
        if told != self.total:
            yield Progress(status=status, digest=self.digest, total=self.total, completed=self.total)

    # ---- the work --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Never raises but for cancellation from outside; `error` says how it ended."""
        try:
            with self._scope:
                await self._fetch()
        except PunaError as error:
            self.error = self.error or error
        except Exception as error:
            log.exception("the download of %s ended unexpectedly", self.digest)
            self.error = self.error or RegistryError(
                "the download failed inside Puna; its log says why", log=str(error)
            )
        except BaseException:
            self.error = self.error or Cancelled()
            raise
        finally:
            self._opened.set()
            self.ended.set()

    async def _fetch(self) -> None:
        """While the model folder moves nothing can begin, and it does not move before this has ended."""
        self._blobs.gate.enter()
        try:
            await self._fetch_into_folder()
        finally:
            self._blobs.gate.leave()

    async def _fetch_into_folder(self) -> None:
        if await anyio.to_thread.run_sync(self._is_there):
            return  # somebody has just finished it
        partial = self._partial = await anyio.to_thread.run_sync(Partial.open, self.path, self.total)
        self._opened.set()
        stop_listening = self._limits.listen(self._news.notify)
        try:
            try:
                await self._transfer(partial)
            except NoRanges as error:
                log.info("%s; the file comes in one piece", error.log)
                partial.as_one_part()
                await self._transfer(partial)
            await self._verify(partial)
        finally:
            stop_listening()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_leave, partial)

    def _is_there(self) -> bool:
        try:
            return self.path.stat().st_size == self.total
        except OSError:
            return False

    async def _transfer(self, partial: Partial) -> None:
        """All parts, while what is there is hashed and written down. Raises the first failure."""
        failures: list[Exception] = []
        async with anyio.create_task_group() as tasks:

            async def guarded(work: Callable[[], Awaitable[None]]) -> None:
                try:
                    await work()
                except Exception as error:  # as itself, not inside a group of exceptions
                    failures.append(error)
                    tasks.cancel_scope.cancel()

            tasks.start_soon(guarded, lambda: self._hash_along(partial))
            self._waiting = deque(part for part in partial.parts if not part.is_complete)
            saver = anyio.CancelScope()
            tasks.start_soon(guarded, lambda: self._save_often(partial, saver))
            while self._waiting or self._active:
                while self._waiting and self._active < self._limits.parts:
                    self._active += 1
                    tasks.start_soon(guarded, functools.partial(self._work, partial, self._waiting.popleft()))
                await self._news.wait()
            saver.cancel()
        if failures:
            raise failures[0]

    async def _work(self, partial: Partial, part: Part) -> None:
        """One part, until it is there or fewer parts are wanted."""
        failures = 0
        try:
            while not part.is_complete:
                before = part.completed
                try:
                    if not await self._attempt(partial, part):
                        self._waiting.appendleft(part)
                        return
                except RegistryError as error:
                    came = part.completed > before
                    failures = self._count(failures, came, error)
                    await anyio.sleep(0 if came and isinstance(error, Stalled) else self._pause(failures, error))
        finally:
            self._active -= 1
            self._news.notify()

    def _count(self, failures: int, came: bool, error: RegistryError) -> int:
        """Failures in a row of which none brought a byte. Raises the error that cannot pass, or has been the last."""
        if not may_pass(error):
            raise error
        log.info("part of %s: %s", short(self.digest), error.log)
        failures = 0 if came else failures + 1
        if failures >= self._patience.attempts:
            raise RegistryError(f"max retries exceeded: {error}", log=error.log)
        return failures

    def _pause(self, failures: int, error: RegistryError) -> float:
        return self._patience.pause_seconds(failures, error)

    async def _attempt(self, partial: Partial, part: Part) -> bool:
        """One request; False where the part is given back because fewer are wanted."""
        async with self._source.open(part) as reply:
            writer = _Writer(partial, part, skip=part.completed if reply.status == 200 else 0)
            try:
                async for piece in reply.pieces():
                    await self._limits.take(len(piece))
                    writer.add(piece)
                    if writer.has_enough:
                        await self._flush(writer)
                        if self._active > self._limits.parts and not part.is_complete:
                            return False
            finally:
                with anyio.CancelScope(shield=True):
                    await self._flush(writer)
            self._check_end(reply, part)
        return True

    def _check_end(self, reply: Reply, part: Part) -> None:
        if not part.is_complete:
            raise NetworkFailure(f"{reply!r} ended {part.missing} bytes early")

    async def _flush(self, writer: _Writer) -> None:
        count = writer.waiting_bytes
        if not count:
            return
        self._unchecked_bytes += count
        if self._unchecked_bytes >= CHECK_SPACE_BYTES:
            self._unchecked_bytes = 0
            await anyio.to_thread.run_sync(self._blobs.check_space, CHECK_SPACE_BYTES)
        await writer.flush()
        self._news.notify()

    # ---- beside it -------------------------------------------------------------------------------------------------

    async def _save_often(self, partial: Partial, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                await anyio.sleep(SAVE_SECONDS)
                await anyio.to_thread.run_sync(partial.save)

    async def _hash_along(self, partial: Partial) -> None:
        while self._hashed_bytes < self.total:
            end = contiguous(partial.parts)
            if end - self._hashed_bytes >= HASH_BYTES or end == self.total:
                end = min(end, self._hashed_bytes + HASH_AT_ONCE_BYTES)
                await anyio.to_thread.run_sync(self._hash_to, partial, end)
            else:
                await self._news.wait()

    def _hash_to(self, partial: Partial, end: int) -> None:
        buffer = memoryview(bytearray(HASH_BYTES))
        while self._hashed_bytes < end:
            wanted = buffer[: min(HASH_BYTES, end - self._hashed_bytes)]
            count = partial.read(self._hashed_bytes, wanted)
            if not count:
                raise RegistryError("the downloaded file became shorter while it was checked; try again")
            self._hash.update(wanted[:count])
            self._hashed_bytes += count

    async def _verify(self, partial: Partial) -> None:
        got = f"sha256:{self._hash.hexdigest()}"
        with anyio.CancelScope(shield=True):
            if got != self.digest:
                await anyio.to_thread.run_sync(partial.discard)
                raise RegistryError(f"digest mismatch, file must be downloaded again: want {self.digest}, got {got}")
            await anyio.to_thread.run_sync(partial.finish)


class _Writer:
    """Collects what came for a part, until it is worth a trip to a thread. `skip` bytes of it are there already."""

    def __init__(self, partial: Partial, part: Part, skip: int) -> None:
        self._partial = partial
        self._part = part
        self._skip = skip
        self._pieces: list[bytes] = []
        self.waiting_bytes = 0

    @property
    def has_enough(self) -> bool:
        return self.waiting_bytes >= WRITE_BYTES

    def add(self, piece: bytes) -> None:
        """Raises RegistryError for more than was asked for."""
        if self._skip:
            skipped = min(self._skip, len(piece))
            self._skip -= skipped
            piece = piece[skipped:]
        if self.waiting_bytes + len(piece) > self._part.missing:
            raise RegistryError("the registry sent more bytes than were asked for; what came before is kept")
        if piece:
            self._pieces.append(piece)
            self.waiting_bytes += len(piece)

    async def flush(self) -> None:
        pieces, self._pieces, self.waiting_bytes = self._pieces, [], 0
        await anyio.to_thread.run_sync(self._partial.write, self._part, pieces)


def _leave(partial: Partial) -> None:
    """Keep what is there. After `finish` and `discard` there is nothing to keep."""
    try:
        if partial.is_open:
            partial.save()
    except PunaError as error:
        log.warning("the state of a download could not be written: %s", error.log)
    finally:
        partial.close()
