"""Reads GGUF structures from a file that may be damaged or hostile.

Counts and lengths are compared with what the file can hold before anything is allocated; long arrays are passed over
and read only when someone asks for them. Every fault is an InvalidGguf.

Source of the format: the published GGUF specification. Version 1 has 32-bit counts and strings that end in NUL.
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from server.errors import InvalidGguf
from server.store.encoding import shortest_float32
from server.store.gguf_tables import ARRAY_TYPE, SCALAR_BYTES, SCALAR_FORMATS, STRING_TYPE

MAX_STRING_BYTES = 16 * 1024 * 1024
MAX_ARRAY_ELEMENTS = 64 * 1024 * 1024
MAX_KEPT_ELEMENTS = 1024  # longer arrays stay in the file
MAX_KEPT_BYTES = 24 * 1024 * 1024  # of all values together
WINDOW_BYTES = 1024 * 1024


class BytesMissing(InvalidGguf):
    """The file has fewer bytes than it should have; they may still be on their way."""


class GgufArray(msgspec.Struct, frozen=True):
    """An array that was left in the file, at `offset`."""

    element_type: int
    count: int
    offset: int


def open_regular(path: Path) -> BinaryIO:
    """Open a plain file, never a pipe or a device that could keep the reader waiting. Raises OSError, InvalidGguf."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InvalidGguf("this is not a plain file, so it cannot be a GGUF model")
    return os.fdopen(handle, "rb", buffering=0)


class GgufReader:
    """A cursor over a file. `size` bounds everything; None asks the file."""

    def __init__(self, file: BinaryIO, *, version: int = 3, big_endian: bool = False, size: int | None = None) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size if size is None else size
        self._window = b""
        self._start = 0  # where the window lies in the file
        self._at = 0  # the cursor within the window; beyond its end after a skip
        self._kept_bytes = 0
        self.use(version, big_endian)

    def use(self, version: int, big_endian: bool) -> None:
        order = ">" if big_endian else "<"
        self.version = version
        self._order = order
        self._count = struct.Struct(order + ("I" if version == 1 else "Q"))
        self._u32, self._u64 = struct.Struct(order + "I"), struct.Struct(order + "Q")
        self._scalars = {kind: struct.Struct(order + code) for kind, code in SCALAR_FORMATS.items()}

    @property
    def position(self) -> int:
        return self._start + self._at

    @property
    def remaining(self) -> int:
        return max(0, self.size - self.position)

    def seek(self, position: int) -> None:
        self._at = position - self._start
        if self._at < 0:
            self._window, self._start, self._at = b"", position, 0

    def take(self, count: int) -> bytes:
        """The next bytes. `count` has been bounded by the caller."""
        if self._at + count > len(self._window):
            self._fill(count)
        data = self._window[self._at : self._at + count]
        self._at += count
        return data

    def skip(self, count: int) -> None:
        if count > self.remaining:
            raise _ends_early()
        self._at += count

    def _fill(self, count: int) -> None:
        """Move the window to the cursor, with at least `count` bytes in it."""
        position = self.position
        if count > self.size - position:
            raise _ends_early()
        wanted = min(max(count, WINDOW_BYTES), self.size - position)
        self._file.seek(position)
        parts: list[bytes] = []
        while wanted > 0:
            part = self._file.read(wanted)
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
        self._window, self._start, self._at = b"".join(parts), position, 0
        if len(self._window) < count:
            raise BytesMissing(str(_ends_early()))

    def u32(self) -> int:
        return int(self._u32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(self._u64.unpack(self.take(8))[0])

    def count(self) -> int:
        return int(self._count.unpack(self.take(self._count.size))[0])

    def raw_string(self) -> bytes:
        length = self._string_length(self.u64())
        data = self.take(length)
        if self.version != 1:
            return data
        if data[-1:] != b"\0":
            raise InvalidGguf("invalid GGUF v1 string terminator")
        return data[:-1]

    def _string_length(self, length: int) -> int:
        if length > MAX_STRING_BYTES:
            raise InvalidGguf(f"GGUF string length {length} exceeds maximum {MAX_STRING_BYTES}")
        if self.version == 1 and length == 0:
            raise InvalidGguf("invalid GGUF v1 string length: 0")
        if length > self.remaining:
            raise _ends_early()
        return length

    def text(self) -> str:
        """A string that is kept. Bytes that are no UTF-8 become U+FFFD."""
        data = self.raw_string()
        self.keep(len(data))
        return data.decode("utf-8", "replace")

    def keep(self, count: int) -> None:
        """Account for memory that outlives the reading."""
        self._kept_bytes += count
        if self._kept_bytes > MAX_KEPT_BYTES:
            raise InvalidGguf(f"the values in the file's header exceed {MAX_KEPT_BYTES} bytes together")

    def value(self, kind: int) -> Any:
        """A scalar, a string, a short list, or a GgufArray."""
        if kind == STRING_TYPE:
            return self.text()
        if kind == ARRAY_TYPE:
            return self._array()
        return self._scalar(kind)

    def _scalar(self, kind: int) -> Any:
        form = self._scalars.get(kind)
        if form is None:
            raise InvalidGguf(f"invalid type: {kind}")
        value = form.unpack(self.take(form.size))[0]
        return shortest_float32(value) if kind == 6 else value

    def _array(self) -> Any:
        kind = self.u32()
        count = self.count()
        if kind != STRING_TYPE and kind not in SCALAR_BYTES:
            raise InvalidGguf(f"invalid array type: {kind}")
        if count > MAX_ARRAY_ELEMENTS:
            raise InvalidGguf(f"GGUF array size {count} exceeds maximum {MAX_ARRAY_ELEMENTS}")
        if count * SCALAR_BYTES.get(kind, 8) > self.remaining:
            raise _ends_early()
        if count <= MAX_KEPT_ELEMENTS:
            self.keep(count * 32)  # a number of Python's with its place in a list
            return [self.value(kind) for _ in range(count)]
        array = GgufArray(kind, count, self.position)
        if kind == STRING_TYPE:
            self.skip_strings(count)
        else:
            self.skip(count * SCALAR_BYTES[kind])
        return array

    def skip_strings(self, count: int) -> None:
        """Vocabularies have hundreds of thousands of strings, so the inner loop touches nothing but lengths: the one
        that leads out of the window, as every forbidden one does, is looked at behind it."""
        if self.version == 1:
            for _ in range(count):
                self.raw_string()
            return
        unpack = self._u64.unpack_from
        done = length = 0
        while done < count:
            window, at = self._window, self._at
            try:
                for done in range(done, count):  # noqa: B007, B020  # read below, when the window has ended
                    length = unpack(window, at)[0]
                    at += 8 + length
                done = count
            except (struct.error, OverflowError):
                pass
            self._at = at
            if length > MAX_STRING_BYTES:
                self._string_length(length)
            if self.position > self.size:
                raise _ends_early()
            if done < count:
                self._fill(8)

    def array(self, array: GgufArray) -> list[Any]:
        """The elements of an array that was left in the file."""
        self.seek(array.offset)
        self._kept_bytes = -MAX_STRING_BYTES * 8  # asked for by name: a vocabulary may be larger than all other texts
        if array.element_type == STRING_TYPE:
            return [self.text() for _ in range(array.count)]
        width = SCALAR_BYTES[array.element_type]
        if array.count * width > self.remaining:
            raise _ends_early()
        form = f"{self._order}{array.count}{SCALAR_FORMATS[array.element_type]}"
        values = struct.unpack(form, self.take(array.count * width))
        return [shortest_float32(value) for value in values] if array.element_type == 6 else list(values)


def _ends_early() -> InvalidGguf:
    return InvalidGguf("the GGUF file ends in the middle of its header; it is incomplete, so copy or download it again")
