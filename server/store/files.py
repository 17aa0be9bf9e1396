"""Writing files so that a crash leaves the old one or the new one, and never half of either."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from server.errors import DiskFull, StoreError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FICLONE = 0x40049409  # Linux; btrfs, XFS, bcachefs and ZFS know it
_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_BINARY = getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def store_errors(action: str) -> Iterator[None]:
    """OSErrors become DiskFull or StoreError. `action` completes "The model folder: could not …"; paths go to the log
    alone, because answers travel to clients on other machines."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(log=f"could not {action}: {error}") from error
        reason = os.strerror(error.errno) if error.errno else "unknown error"
        advice = "check that the folder exists, belongs to you and can be written to"
        raise StoreError(f"could not {action}: {reason}; {advice}", log=f"could not {action}: {error}") from error


def make_folder(path: Path) -> None:
    """The folder and its parents, open to read for everyone (0755 under the usual umask), and there after a crash."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    path.mkdir(mode=0o755, exist_ok=True)
    with contextlib.suppress(OSError):  # a parent that may be used but not read
        sync_folder(path.parent)


def create_temporary(folder: Path) -> tuple[int, Path]:
    """A new file of an unpredictable name that both this program and others sweep up after an hour."""
    make_folder(folder)
    path = folder / f"sha256-{secrets.randbelow(10**19)}"
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY | _NO_FOLLOW, 0o644), path


@contextlib.contextmanager
def temporary_file(folder: Path) -> Iterator[Path]:
    """An empty file for something else to write into; removed at the end unless it has been moved away by then."""
    handle, path = create_temporary(folder)
    os.close(handle)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Make the content of a file durable that something else has written."""
    handle = os.open(path, os.O_RDWR | _BINARY)  # Windows syncs only what may be written
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def clone_file(source: BinaryIO, target: BinaryIO) -> bool:
    """Let `target` share the blocks of `source` until one of them changes: no byte is copied. False where the disk
    cannot."""
    if sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
    except OSError:
        return False
    return True


def sync_folder(path: Path) -> None:
    """Make a rename in `path` durable. Windows keeps no such promise and has no call for it."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # network file systems that cannot sync a folder
            raise
    finally:
        os.close(handle)


def write_atomically(path: Path, data: bytes, temporary_folder: Path) -> None:
    """Write `path` whole or not at all. `temporary_folder` is on the same file system."""
    handle, temporary = create_temporary(temporary_folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _move(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(FileNotFoundError):  # another program has removed file and folder already
        sync_folder(path.parent)


def _move(temporary: Path, path: Path) -> None:
    """Another program that deletes the last model of a folder removes the folder, perhaps just now."""
    for _ in range(3):
        make_folder(path.parent)
        with contextlib.suppress(FileNotFoundError):
            os.replace(temporary, path)
            return
    os.replace(temporary, path)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keeps other processes that ask for the same lock out. It ends with the process that holds it. Where a system or
    a disk knows no such lock there is none."""
    if fcntl is None:
        yield
        return
    make_folder(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
