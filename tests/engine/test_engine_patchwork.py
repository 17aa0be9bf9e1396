"""Files that are put together from pieces of another, read as a stream and written out."""

from __future__ import annotations

import ctypes
import os
import pathlib
import random
import shutil
from collections import namedtuple
from typing import Any

import gguf
import numpy as np
import pytest

from server.engine import bindings, patchwork
from server.errors import RunnerStartFailed
from server.messages.patchwork import Patch, Patchwork

SOURCE = bytes(random.Random(5).randbytes(3_000_000))


@pytest.fixture
def source(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "source"
    path.write_bytes(SOURCE)
    return str(path)


def plain(source: str) -> tuple[Patchwork, bytes]:
    """With pieces of all sizes, one of nothing among them, and what they make."""
    pieces = [(0, 5), (100, 1), (7, 0), (2_500_000, 400_000), (3, 2_000_000)]
    patches: list[Patch] = []
    whole = b""
    for number, (offset, size) in enumerate(pieces):
        words = b"literal" * (number + 1)
        patches += [Patch(words), Patch(offset=offset, size=size)]
        whole += words + SOURCE[offset : offset + size]
    return Patchwork(source, tuple(patches)), whole


def read(libc: Any, file: int, count: int) -> bytes:
    buffer = ctypes.create_string_buffer(count)
    libc.fread.restype = ctypes.c_size_t
    libc.fread.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
    found: int = libc.fread(buffer, 1, count, file)
    return buffer.raw[:found]


def test_a_stream_is_the_file(source: str) -> None:
    work, whole = plain(source)
    assert work.size == len(whole)
    libc = bindings.libc()
    libc.fseek.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_int]
    libc.ftell.argtypes = [ctypes.c_void_p]
    libc.ftell.restype = ctypes.c_long
    draw = random.Random(11)
    with patchwork.stream(work) as file:
        assert read(libc, file, len(whole) + 10) == whole
        for _ in range(300):
            start = draw.randrange(len(whole))
            count = draw.choice([1, 8, 100, 5000, 3_000_000])
            assert libc.fseek(file, start, os.SEEK_SET) == 0
            assert libc.ftell(file) == start
            assert read(libc, file, count) == whole[start : start + count]
        assert libc.fseek(file, 0, os.SEEK_END) == 0
        assert libc.ftell(file) == len(whole)
        assert libc.fseek(file, -1, os.SEEK_SET) != 0


def test_a_source_that_became_shorter_is_an_error_of_reading(source: str) -> None:
    work, whole = plain(source)
    libc = bindings.libc()
    libc.ferror.argtypes = [ctypes.c_void_p]
    with patchwork.stream(work) as file:
        os.truncate(source, 1000)
        assert len(read(libc, file, len(whole))) < len(whole)
        assert libc.ferror(file)


def test_it_is_written_and_goes_away(source: str, tmp_path: pathlib.Path) -> None:
    work, whole = plain(source)
    folder = tmp_path / "cache"
    with patchwork.written(work, folder) as path:
        assert path.read_bytes() == whole
    assert not list(folder.iterdir())
    with pytest.raises(ZeroDivisionError), patchwork.written(work, folder):
        _ = 1 / 0
    assert not list(folder.iterdir())


def test_what_a_runner_left_is_removed_after_an_hour(source: str, tmp_path: pathlib.Path) -> None:
    old, new, other = (tmp_path / name for name in ("puna-translated-a.gguf", "puna-translated-b.gguf", "c.gguf"))
    for path in (old, new, other):
        path.write_bytes(b"x")
    for path in (old, other):
        os.utime(path, (1, 1))
    with patchwork.written(plain(source)[0], tmp_path):
        assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


def test_a_full_disk_is_a_sentence(source: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9, 10**6))
    with (
        pytest.raises(RunnerStartFailed, match=r"0\.0 GB are free in .*Free some space"),
        patchwork.written(plain(source)[0], tmp_path),
    ):
        pass
    assert not list(tmp_path.glob("puna-*"))


def test_a_source_that_became_shorter_is_a_sentence(source: str, tmp_path: pathlib.Path) -> None:
    os.truncate(source, 1000)
    with (
        pytest.raises(RunnerStartFailed, match="shorter than it was"),
        patchwork.written(plain(source)[0], tmp_path),
    ):
        pass
    assert not list(tmp_path.glob("puna-*"))


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0"])
def test_numbers_become_floats(kind: Any, source: str, tmp_path: pathlib.Path) -> None:
    numbers = np.random.default_rng(3).normal(0, 1, (6, 64)).astype(np.float32)
    packed = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType[kind])
    expected = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType[kind])
    data = packed.tobytes()
    pathlib.Path(source).write_bytes(data)
    order = (5, 0, 3)
    patch = Patch(offset=0, size=len(data), unit=len(data) // 6, order=order, widen=kind)
    assert patch.length == 3 * 64 * 4
    with patchwork.written(Patchwork(source, (patch,)), tmp_path) as path:
        assert path.read_bytes() == expected[list(order)].astype("<f4").tobytes()


def test_systems_that_read_into_no_memory_of_others(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv")
    work, whole = plain(source)
    with patchwork.stream(work) as file:
        assert read(bindings.libc(), file, len(whole)) == whole
