"""Blobs: digests, uploads, what happens when one goes wrong, and local files taken in."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from server.errors import DigestMismatch, DiskFull, InvalidDigest, StoreError
from server.store.blobs import MIB, RESERVE_BYTES, Blobs

DATA = b"hello, blob\n" * 300_000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


async def pieces(data: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def unreadable() -> AsyncIterator[bytes]:
    raise AssertionError("the body must not be read")
    yield b""


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def names(blobs: Blobs) -> list[str]:
    return sorted(os.listdir(blobs.folder)) if blobs.folder.exists() else []


@pytest.mark.anyio
async def test_upload(blobs: Blobs) -> None:
    """model-store 36, 37 and 39, native-api 259 and 261."""
    assert not blobs.has(DIGEST)
    assert await blobs.receive(DIGEST.replace(":", "-").upper().replace("SHA256", "sha256"), pieces(DATA))
    assert blobs.has(DIGEST)
    assert blobs.has(DIGEST.replace(":", "-"))
    assert not await blobs.receive(DIGEST, unreadable())
    path = blobs.path(DIGEST)
    assert path.read_bytes() == DATA
    assert path.name == DIGEST.replace(":", "-")
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert names(blobs) == [path.name]
    assert repr(blobs) == f"<blobs in {blobs.folder}>"


def _umask() -> int:
    present = os.umask(0o022)
    os.umask(present)
    return present | 0o022


@pytest.mark.anyio
async def test_upload_of_nothing(blobs: Blobs) -> None:
    assert await blobs.receive(f"sha256:{hashlib.sha256(b'').hexdigest()}", pieces(b""))


@pytest.mark.anyio
async def test_wrong_content_leaves_nothing(blobs: Blobs) -> None:
    """model-store 38, native-api 262."""
    zero = f"sha256:{'0' * 64}"
    with pytest.raises(DigestMismatch) as caught:
        await blobs.receive(zero, pieces(b"x"))
    x = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert str(caught.value) == f'digest mismatch, expected "{zero}", got "{x}"'
    assert names(blobs) == []


@pytest.mark.anyio
async def test_broken_upload_leaves_nothing(blobs: Blobs) -> None:
    """model-store 40."""

    async def broken() -> AsyncIterator[bytes]:
        yield DATA[: 2 * MIB]
        raise ConnectionResetError

    with pytest.raises(StoreError):
        await blobs.receive(DIGEST, broken())
    assert names(blobs) == []


@pytest.mark.anyio
async def test_cancelled_upload_leaves_nothing(blobs: Blobs) -> None:
    started = anyio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield DATA[: 2 * MIB]
        started.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(blobs.receive, DIGEST, endless())
        await started.wait()
        assert len(names(blobs)) == 1
        tasks.cancel_scope.cancel()
    assert names(blobs) == []


@pytest.mark.anyio
async def test_a_stalled_upload_does_not_hold_up_another(blobs: Blobs) -> None:
    started, free = anyio.Event(), anyio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield DATA[:MIB]
        started.set()
        await free.wait()
        yield DATA[MIB:]

    results: list[bool] = []

    async def first() -> None:
        results.append(await blobs.receive(DIGEST, stalled()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await started.wait()
        assert await blobs.receive(DIGEST, pieces(DATA))
        free.set()
    assert results == [True]
    assert blobs.path(DIGEST).read_bytes() == DATA
    assert len(names(blobs)) == 1


@pytest.mark.parametrize(
    "digest",
    ["foo", "", "sha256:abcd", f"sha512:{'0' * 64}", f"sha256:{'0' * 64}\n", f"sha256:../{'0' * 61}",
     f"sha256:{'g' * 64}", f"sha256..%2f{'0' * 59}", f"sha256:{'0' * 65}"],
)  # fmt: skip
@pytest.mark.anyio
async def test_digests_that_are_none(blobs: Blobs, digest: str) -> None:
    """model-store 8 and 41, native-api 260."""
    for call in (blobs.path, blobs.has, blobs.touch, blobs.delete):
        with pytest.raises(InvalidDigest, match=r"^invalid digest format$"):
            call(digest)
    with pytest.raises(InvalidDigest):
        await blobs.receive(digest, unreadable())


@pytest.mark.anyio
async def test_full_disk(tmp_path: Path) -> None:
    """The space that others need is left alone, before the first byte and on the way."""
    free = [RESERVE_BYTES]
    blobs = Blobs(tmp_path / "blobs", free_bytes=lambda _: free[0])
    with pytest.raises(DiskFull) as caught:
        await blobs.receive(DIGEST, pieces(DATA))
    assert caught.value.status == 507
    with pytest.raises(DiskFull):
        blobs.write(b"text")
    free[0] = RESERVE_BYTES + 2 * len(DATA)
    assert await blobs.receive(DIGEST, pieces(DATA))
    assert names(blobs) == [blobs.path(DIGEST).name]


LIMITED = """
import anyio, resource, sys
from pathlib import Path
from server.errors import DiskFull
from server.store import Store

async def pieces():
    for _ in range(4):
        yield bytes(1 << 20)

resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
store = Store(Path(sys.argv[1]))
store.prepare()
try:
    anyio.run(store.blobs.receive, "sha256:" + "0" * 64, pieces())
except DiskFull as error:
    assert not list(store.blobs.folder.iterdir())
    sys.exit(7)
"""


def test_the_system_refuses_to_write(tmp_path: Path) -> None:
    """A write that the system cuts off: the error is DiskFull and nothing stays behind."""
    ended = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 7, ended.stderr


def test_local_file_is_copied(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "model.gguf"
    source.write_bytes(DATA)
    assert blobs.add_file(source) == DIGEST
    assert blobs.add_file(source) == DIGEST
    source.write_bytes(b"overwritten in place")
    assert blobs.path(DIGEST).read_bytes() == DATA
    with pytest.raises(StoreError):
        blobs.add_file(tmp_path / "gone")


def test_write_says_whether_it_is_new(blobs: Blobs) -> None:
    digest, is_new = blobs.write(b"MIT")
    assert (digest, is_new) == ("sha256:e5dcffe836b6ec8a58e492419b550e65fb8cbdc308503979e5dacb33ac7ea3b7", True)
    os.utime(blobs.path(digest), (1, 1))
    assert blobs.write(b"MIT") == (digest, False)
    assert blobs.path(digest).stat().st_mtime > 1
    assert blobs.delete(digest) == 3
    assert blobs.delete(digest) == 0
    assert not blobs.touch(digest)


def test_upper_case_on_disk_is_found(blobs: Blobs) -> None:
    blobs.folder.mkdir()
    upper = DIGEST.removeprefix("sha256:").upper()
    (blobs.folder / f"sha256-{upper}").write_bytes(DATA)
    assert blobs.has(f"sha256:{upper}")
