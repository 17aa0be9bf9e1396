"""Content-addressed files: `blobs/sha256-<64 hex digits>`.

A blob is written under a temporary name, hashed on the way, synced, and renamed when its digest is known to be right.
Two writers of one digest need no lock: each has its own temporary file, the first rename wins, the second file is
dropped, and a client that stalls half-way keeps nobody waiting.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread

from server.errors import DigestMismatch, DiskFull, StoreError
from server.store import digests
from server.store.files import create_temporary, store_errors, sync_file, sync_folder, temporary_file
from server.store.gate import Gate

MIB = 1024 * 1024
PIECE_BYTES = MIB  # written and hashed at once, in a thread
RESERVE_BYTES = 64 * MIB  # left free for everyone else on the disk
CHECK_EVERY_BYTES = 32 * MIB


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class Blobs:
    """The folder. `free_bytes` tells the space left on its disk."""

    def __init__(self, folder: Path, *, free_bytes: Callable[[Path], int] = _free_bytes) -> None:
        self.folder = folder
        self.gate = Gate()
        self._free_bytes = free_bytes

    def __repr__(self) -> str:
        return f"<blobs in {self.folder}>"

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be. Both separators and any case are understood. Raises InvalidDigest."""
        as_written = self.folder / f"sha256-{digests.hex_of(digest)}"
        lower = self.folder / f"sha256-{digests.hex_of(digest).lower()}"
        return as_written if as_written != lower and as_written.is_file() else lower

    def has(self, digest: str) -> bool:
        """Raises InvalidDigest."""
        return self.path(digest).is_file()

    def touch(self, digest: str) -> bool:
        """Set the blob's time to now, which keeps the sweep of any program at its start away for an hour. False where
        there is no such blob."""
        path = self.path(digest)
        try:
            if path.is_symlink():  # the time of a file of others is not ours to set
                if os.utime in os.supports_follow_symlinks:
                    os.utime(path, follow_symlinks=False)
                return path.is_file()
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError:
            return path.is_file()  # someone else's file, linked in
        return True

    def modified_ns(self, digest: str) -> int:
        """The time of the blob; 0 where there is none."""
        try:
            return self.path(digest).stat().st_mtime_ns
        except OSError:
            return 0

    def read(self, digest: str) -> bytes:
        """Raises InvalidDigest, FileNotFoundError, StoreError."""
        path = self.path(digest)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError("a part of the model could not be read", log=f"{path}: {error}") from error

    def write(self, data: bytes) -> tuple[str, bool]:
        """Store a small blob: its digest, and whether it is new. Raises StoreError."""
        digest = digests.digest_of(data)
        if self.touch(digest):
            return digest, False
        with store_errors("write to the model folder"), self.incoming() as incoming:
            incoming.write(data)
            incoming.keep(digest)
        return digest, True

    async def receive(self, digest: str, chunks: AsyncIterator[bytes]) -> bool:
        """Store an upload; false, with nothing read, where the blob is there already.

        Raises InvalidDigest, DigestMismatch, DiskFull, StoreError; nothing stays behind then, nor when the upload
        breaks off.
        """
        wanted = digests.normal(digest)
        if await anyio.to_thread.run_sync(self.touch, wanted):
            return False
        with store_errors("store the upload"), self.incoming() as incoming:
            piece = bytearray()
            async for chunk in chunks:
                piece += chunk
                if len(piece) >= PIECE_BYTES:
                    await anyio.to_thread.run_sync(incoming.write, bytes(piece))
                    piece.clear()
            await anyio.to_thread.run_sync(incoming.write, bytes(piece))
            if incoming.digest != wanted:
                raise DigestMismatch(f'digest mismatch, expected "{digest}", got "{incoming.digest}"')
            await anyio.to_thread.run_sync(incoming.keep, wanted)
        return True

    @contextlib.contextmanager
    def workplace(self) -> Iterator[Path]:
        """A file of this folder for something else to write into; gone at the end unless `adopt` has made a blob of it.
        Raises OSError, FolderMoving."""
        with self.gate.visit(), temporary_file(self.folder) as path:
            yield path

    def incoming(self) -> Incoming:
        """A blob to write piece by piece. Raises OSError, FolderMoving."""
        return Incoming(self)

    def adopt(self, path: Path, digest: str = "") -> tuple[str, bool]:
        """Make a blob of a finished temporary file of this folder: its digest, computed where it is not known yet, and
        whether it is new. Raises OSError."""
        if not digest:
            with path.open("rb") as file:
                digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        with self.gate.visit():
            if self.touch(digest):
                return digest, False
            sync_file(path)
            os.replace(path, self.path(digest))
            sync_folder(self.folder)
        return digest, True

    def add_file(self, source: Path) -> str:
        """Take in a copy of a local file; through a link, overwriting the file would change the blob under its digest.
        Raises StoreError."""
        with store_errors("read the model file"), source.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            if not self.touch(digest):
                file.seek(0)
                self._copy(file, digest)
        return digest

    def _copy(self, file: BinaryIO, digest: str) -> None:
        with self.incoming() as incoming:
            while piece := file.read(PIECE_BYTES):
                incoming.write(piece)
            if incoming.digest != digest:
                raise StoreError("the model file changed while it was copied; try again")
            incoming.keep(digest)

    def delete(self, digest: str) -> int:
        """The bytes that this freed; 0 where there was no such blob, or only a link to a file of others. Raises
        InvalidDigest, StoreError."""
        path = self.path(digest)
        with store_errors("delete a part of the model"):
            try:
                status = path.lstat()
                path.unlink()
            except FileNotFoundError:
                return 0
        return 0 if stat.S_ISLNK(status.st_mode) or status.st_nlink > 1 else status.st_size

    @property
    def free_bytes(self) -> int:
        """The space that is left on the folder's disk."""
        return self._free_bytes(self.folder)

    def check_space(self, more: int) -> None:
        """Raises DiskFull where `more` bytes would leave less than the reserve."""
        free = self.free_bytes
        if free - more < RESERVE_BYTES:
            raise DiskFull(log=f"{free} bytes are free on the disk of the model folder; {more} more were to be written")


class Incoming:
    """A blob on its way in. Leaving the context without `keep` removes it."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._hash = hashlib.sha256()
        self._unchecked = CHECK_EVERY_BYTES
        blobs.gate.enter()
        try:
            handle, self._path = create_temporary(blobs.folder)
        except BaseException:
            blobs.gate.leave()
            raise
        self._file = os.fdopen(handle, "wb", buffering=0)

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        self._blobs.gate.leave()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        """Raises DiskFull, OSError."""
        self._unchecked += len(data)
        if self._unchecked >= CHECK_EVERY_BYTES:
            self._blobs.check_space(len(data))
            self._unchecked = 0
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._hash.update(data)

    def keep(self, digest: str) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._path, self._blobs.path(digest))
        sync_folder(self._blobs.folder)
