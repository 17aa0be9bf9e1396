"""Files for this user alone: whole or not at all, and never somebody else's.

A folder may be shared without anybody having meant it (a home on a server, a state folder under /tmp). So what is read
must be a plain file that belongs to this user and that nobody else can read or write; and what is written is a new file
that takes the place of the old one, so that nothing is ever written through a link that somebody has put there. On
Windows the rights of the user's profile do the same.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
# A pipe in the place of the file must not make its reader wait.
_READ = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_LOCK = os.O_RDWR | os.O_CREAT | _NO_FOLLOW


def read_private(path: Path) -> bytes:
    """Raises OSError, also for a file that is not this user's alone."""
    with os.fdopen(os.open(path, _READ), "rb") as file:
        if not _is_private(os.fstat(file.fileno())):
            raise PermissionError(f"{path} must be a file of yours that nobody else can read or write (mode 600)")
        return file.read()


def _is_private(found: os.stat_result) -> bool:
    if not stat.S_ISREG(found.st_mode):
        return False
    return os.name == "nt" or (found.st_uid == os.geteuid() and not found.st_mode & 0o077)


def write_private(path: Path, data: bytes) -> None:
    """Readers see the old content or the new one, also after a crash. Raises OSError."""
    make_private_folder(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=".tmp")  # has mode 600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def make_private_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def _prefix(path: Path) -> str:
    return f".{path.name}."


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system has a call for it and the disk obeys."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Whoever reads a private file, changes it and writes it keeps all others out meanwhile, in every process. The lock
    ends with the process that holds it; what a killed one has left half-written is swept away. Raises OSError."""
    make_private_folder(path.parent)
    handle = os.open(path.with_name(path.name + ".lock"), _LOCK, 0o600)
    try:
        _lock(handle)
        for leftover in path.parent.glob(f"{_prefix(path)}*.tmp"):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)
