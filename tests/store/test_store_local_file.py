"""Files of this machine, taken in by their name: read once, hashed once, and never by someone who cannot read them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest

from server.errors import Cancelled, DiskFull, NotFound
from server.messages.files import BEGINNING_BYTES
from server.store import local_file
from server.store.blobs import RESERVE_BYTES, Blobs
from server.store.local_file import PIECE_BYTES, take_file

DATA = bytes(range(256)) * (3 * PIECE_BYTES // 256) + b"and a rest"
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
BEGINNING = f"sha256:{hashlib.sha256(DATA[:BEGINNING_BYTES]).hexdigest()}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def ignore(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


def names(blobs: Blobs) -> list[str]:
    return sorted(os.listdir(blobs.folder)) if blobs.folder.exists() else []


def test_a_file_is_copied_and_hashed_in_one_reading(blobs: Blobs, source: Path) -> None:
    told: list[tuple[int, int]] = []
    counters = psutil.Process().io_counters if hasattr(psutil.Process, "io_counters") else None
    before = counters().read_chars if counters else 0
    assert take_file(blobs, source, BEGINNING, lambda *seen: told.append(seen)) == DIGEST
    if counters:
        assert counters().read_chars - before < len(DATA) + BEGINNING_BYTES + 100_000
    assert told[-1] == (len(DATA), len(DATA))
    assert names(blobs) == [DIGEST.replace(":", "-")]
    source.write_bytes(b"overwritten in place")
    assert blobs.path(DIGEST).read_bytes() == DATA


def test_a_blob_that_is_there_is_not_written_again(blobs: Blobs, source: Path) -> None:
    take_file(blobs, source, BEGINNING, ignore)
    inode = blobs.path(DIGEST).stat().st_ino
    os.utime(blobs.path(DIGEST), (1, 1))
    assert take_file(blobs, source, BEGINNING, ignore) == DIGEST
    status = blobs.path(DIGEST).stat()
    assert (status.st_ino, status.st_mtime > 1) == (inode, True)
    other = DATA[:-1] + b"!"
    source.write_bytes(other)
    assert take_file(blobs, source, BEGINNING, ignore) == f"sha256:{hashlib.sha256(other).hexdigest()}"
    assert len(names(blobs)) == 2


def test_a_disk_that_clones_files_copies_nothing(blobs: Blobs, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clone is what is hashed: whatever happens to the source meanwhile, the digest is that of the blob."""

    def clone(read: BinaryIO, written: BinaryIO) -> bool:
        written.write(read.read())
        written.seek(0)
        source.write_bytes(b"overwritten at once")
        return True

    monkeypatch.setattr(local_file, "clone_file", clone)
    assert take_file(blobs, source, BEGINNING, ignore) == DIGEST
    assert blobs.path(DIGEST).read_bytes() == DATA


def test_an_empty_file(blobs: Blobs, tmp_path: Path) -> None:
    nothing = f"sha256:{hashlib.sha256(b'').hexdigest()}"
    (tmp_path / "empty").touch()
    assert take_file(blobs, tmp_path / "empty", nothing, ignore) == nothing


@pytest.mark.parametrize("wrong", ["", "nowhere", ".", "model.gguf"])
def test_what_cannot_be_taken_has_one_answer(
    blobs: Blobs, source: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is not absolute, nothing, a folder, a file whose beginning was guessed."""
    monkeypatch.chdir(source.parent)
    path = source.parent / wrong if wrong in ("nowhere", ".") else Path(wrong)
    for beginning, place in ((BEGINNING, path), (DIGEST, source)):
        with pytest.raises(NotFound, match=r"^this file cannot be taken from its place; upload it$"):
            take_file(blobs, place, beginning, ignore)
    assert names(blobs) == []


def test_leaving_and_a_full_disk_leave_nothing(blobs: Blobs, source: Path) -> None:
    def leave(_done: int, _total: int) -> None:
        raise Cancelled()

    with pytest.raises(Cancelled):
        take_file(blobs, source, BEGINNING, leave)
    assert names(blobs) == []
    full = Blobs(blobs.folder, free_bytes=lambda _: RESERVE_BYTES + len(DATA) - 1)
    with pytest.raises(DiskFull):
        take_file(full, source, BEGINNING, ignore)
    assert names(blobs) == []
