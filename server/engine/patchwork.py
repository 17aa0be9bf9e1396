"""Reads a file that exists only as patches of another one: as a stream that llama.cpp reads like a file, or written out
for those who take nothing but a path."""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from server.engine import bindings
from server.errors import RunnerStartFailed
from server.messages.patchwork import Patch, Patchwork

MEBIBYTE = 1024 * 1024
BUFFER_BYTES = MEBIBYTE  # small reads of a header share one; large ones pass it by
COPY_BYTES = 8 * MEBIBYTE
MOST_BYTES = 1024 * MEBIBYTE  # of one read; macOS refuses two of these
SPARE_BYTES = 64 * MEBIBYTE  # of the disk that stay free
GRACE_SECONDS = 60 * 60
PREFIX = "puna-translated-"
FULLY_BUFFERED = 1 if sys.platform == "win32" else 0  # _IOFBF
READ_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0)

_READ = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_SEEK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64), ctypes.c_int)
_BSD_READ = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
_BSD_SEEK = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int)


class _Functions(ctypes.Structure):
    """glibc's and musl's cookie_io_functions_t."""

    _fields_ = (("read", _READ), ("write", ctypes.c_void_p), ("seek", _SEEK), ("close", ctypes.c_void_p))


class Reader:
    """A cursor over the patches. All must be plain."""

    def __init__(self, work: Patchwork, source: int) -> None:
        self._patches = work.patches
        self._source = source
        self._starts = [0, *itertools.accumulate(patch.length for patch in work.patches)]
        self.size = self._starts[-1]
        self.position = 0

    def seek(self, offset: int, whence: int) -> int:
        base = (0, self.position, self.size)[whence]
        if not 0 <= base + offset <= self.size:
            return -1
        self.position = base + offset
        return self.position

    def read_into(self, address: int, count: int) -> int:
        """The bytes that were written to `address`, as many as there are; -1 where the source cannot be read."""
        done = 0
        count = min(count, self.size - self.position)
        while done < count:
            index = bisect.bisect_right(self._starts, self.position) - 1
            patch, at = self._patches[index], self.position - self._starts[index]
            part = min(count - done, patch.length - at)
            if patch.data:
                ctypes.memmove(address + done, patch.data[at : at + part], part)
            else:
                part = self._copy(address + done, part, patch.offset + at)
                if part <= 0:
                    return done or -1
            self.position += part
            done += part
        return done

    def _copy(self, address: int, count: int, offset: int) -> int:
        if hasattr(os, "preadv"):
            count = min(count, MOST_BYTES)
            return os.preadv(self._source, [(ctypes.c_char * count).from_address(address)], offset)
        data = os.pread(self._source, min(count, COPY_BYTES), offset)  # macOS before its version 11
        ctypes.memmove(address, data, len(data))
        return len(data)


@contextlib.contextmanager
def stream(work: Patchwork) -> Iterator[int]:
    """A FILE pointer of the C library. Raises OSError."""
    source = os.open(work.source, READ_FLAGS)
    try:
        reader = Reader(work, source)
        kept = _callbacks(reader)  # for as long as the C library may call
        libc = bindings.libc()
        if sys.platform == "darwin":
            libc.funopen.restype = ctypes.c_void_p
            libc.funopen.argtypes = [ctypes.c_void_p] * 5
            read, seek = (ctypes.cast(function, ctypes.c_void_p) for function in kept)
            file = libc.funopen(None, read, None, seek, None)
        else:
            libc.fopencookie.restype = ctypes.c_void_p
            libc.fopencookie.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _Functions]
            file = libc.fopencookie(None, b"rb", _Functions(kept[0], None, kept[1], None))
        if not file:
            raise OSError("the C library could not open a stream")
        try:
            libc.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t]
            libc.setvbuf(file, None, FULLY_BUFFERED, BUFFER_BYTES)
            yield file
        finally:
            libc.fclose.argtypes = [ctypes.c_void_p]
            libc.fclose(file)
    finally:
        os.close(source)


def _callbacks(reader: Reader) -> tuple[Any, Any]:
    """Nothing may be raised through the C library."""

    def read(_cookie: int | None, address: int, count: int) -> int:
        try:
            return reader.read_into(address, count)
        except OSError:
            return -1

    def seek(_cookie: int | None, offset: Any, whence: int) -> int:
        found = reader.seek(offset[0], whence)
        if found < 0:
            return -1
        offset[0] = found
        return 0

    if sys.platform == "darwin":
        return _BSD_READ(read), _BSD_SEEK(lambda _cookie, offset, whence: reader.seek(offset, whence))
    return _READ(read), _SEEK(seek)


def can_stream(work: Patchwork) -> bool:
    """Windows has no streams that a program could fill."""
    name = "funopen" if sys.platform == "darwin" else "fopencookie"
    return work.is_plain and sys.platform != "win32" and hasattr(bindings.libc(), name)


@contextlib.contextmanager
def written(work: Patchwork, folder: Path | None) -> Iterator[Path]:
    """The file, in `folder` or where temporary files are; removed at the end. Raises RunnerStartFailed."""
    place = folder or Path(tempfile.gettempdir())
    try:
        place.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(place)
        _check_space(work.size, place)
        handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=".gguf", dir=place)
    except OSError as error:
        raise _unwritten(place, error) from error
    path = Path(name)
    try:
        try:
            with os.fdopen(handle, "wb") as target, open(work.source, "rb", buffering=0) as source:
                for patch in work.patches:
                    _write(patch, source, target)
        except OSError as error:
            raise _unwritten(place, error) from error
        yield path
    finally:
        path.unlink(missing_ok=True)


def _unwritten(place: Path, error: OSError) -> RunnerStartFailed:
    return RunnerStartFailed(f"A part of the model could not be written to {place}: {error.strerror or error}.")


def _check_space(needed: int, place: Path) -> None:
    free = shutil.disk_usage(place).free
    if free < needed + SPARE_BYTES:
        raise RunnerStartFailed(
            f"This model was written for another engine, and {needed / 1e9:.1f} GB of it must be written anew for "
            f"llama.cpp, but only {free / 1e9:.1f} GB are free in {place}. Free some space."
        )


def _remove_leftovers(place: Path) -> None:
    """Of runners that were ended while they loaded."""
    for path in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > GRACE_SECONDS:
                path.unlink()


def _write(patch: Patch, source: BinaryIO, target: BinaryIO) -> None:
    if patch.data:
        target.write(patch.data)
        return
    source.seek(patch.offset)
    if not patch.is_plain:
        target.write(changed(patch, _exactly(source, patch.size)))
        return
    left = patch.size
    while left:
        part = _exactly(source, min(left, COPY_BYTES))
        target.write(part)
        left -= len(part)


def _exactly(source: BinaryIO, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = source.read(count)
        if not part:
            raise OSError("the model file is shorter than it was")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def changed(patch: Patch, data: bytes) -> bytes:
    """What a patch makes of its bytes."""
    if patch.unit:
        units = np.frombuffer(data, np.uint8).reshape(-1, patch.unit)
        data = units[np.array(patch.order)].tobytes()
    if patch.widen == "F16":
        return np.frombuffer(data, "<f2").astype("<f4").tobytes()
    if patch.widen == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).tobytes()
    if patch.widen == "Q8_0":
        blocks = np.frombuffer(data, [("scale", "<f2"), ("numbers", "i1", 32)])
        numbers = blocks["scale"].astype(np.float32)[:, None] * blocks["numbers"].astype(np.float32)
        return bytes(numbers.tobytes())
    return data
