"""Files of other programs, used where they are (model-store 26, 30, 34, 110 where a blob is a link)."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from server.errors import LinkedFileLost, LinkRefused
from server.messages.names import ModelName
from server.store import CreateRequest, Store
from server.store.links import LinkRecord, Links, hash_file
from tests.store.gguf_builder import small_model

DATA = small_model().encoded()
M = ModelName.parse("m")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "theirs" / "weights.gguf"
    path.parent.mkdir()
    path.write_bytes(DATA)
    return path


def link(store: Store, path: Path) -> str:
    digest, status = hash_file(path)
    record = LinkRecord(
        digest=digest,
        path=str(path),
        target=str(path),
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        inode=status.st_ino,
    )
    store.links.make(store.blobs.path(digest), record)
    return digest


@pytest.fixture
def linked(store: Store, weights: Path) -> str:
    """`m`, whose weights are linked; their digest."""
    digest = link(store, weights)
    store.create(CreateRequest(model="m", files={"weights.gguf": digest}), lambda _: None)
    return digest


def test_a_link_is_a_blob_like_any_other(store: Store, weights: Path, linked: str) -> None:
    blob = store.blobs.path(linked)
    assert blob.is_symlink()
    assert os.readlink(blob) == str(weights)
    model = store.get(M)
    assert model.gguf is not None
    assert model.gguf.architecture == "llama"
    assert [(part.path, part.state, part.note) for part in model.linked] == [(str(weights), "sound", "")]
    model.check_files()
    # A program that knows nothing of links opens the blob by its name.
    assert blob.read_bytes() == DATA


def test_making_a_model_leaves_the_time_of_the_file(store: Store, weights: Path, linked: str) -> None:
    os.utime(weights, ns=(10**18, 10**18))
    store.create(CreateRequest.read({"model": "n", "from": "m", "system": "hi"}), lambda _: None)
    store.copy(M, ModelName.parse("c"))
    assert weights.stat().st_mtime_ns == 10**18


def test_deleting_removes_the_link_alone(store: Store, weights: Path, linked: str) -> None:
    """26: what it frees is not the file of others."""
    store.copy(M, ModelName.parse("copy"))
    assert store.delete(M) == 0
    assert store.blobs.path(linked).is_symlink()
    freed = store.delete(ModelName.parse("copy"))
    assert 0 < freed < len(DATA)
    assert not os.path.lexists(store.blobs.path(linked))
    assert weights.read_bytes() == DATA
    assert store.links.record_of_file(weights, weights.stat()) is None


def test_the_sweep_follows_no_link(store: Store, weights: Path, linked: str, tmp_path: Path) -> None:
    """30, 34"""
    foreign = tmp_path / "theirs" / "other.bin"
    foreign.write_bytes(b"other")
    stranger = store.blobs.folder / ("sha256-" + "a" * 64)
    stranger.symlink_to(foreign)
    named = store.blobs.folder / "mine.gguf"
    named.symlink_to(foreign)
    old = time.time() - 3 * 3600
    os.utime(foreign, (old, old))
    os.utime(weights, (old, old))
    store.manifests.remove(M)  # as a crash would leave it: a link, and no manifest
    store.prepare(now=time.time() + 600)
    assert store.blobs.path(linked).is_symlink()
    store.prepare(now=time.time() + 2 * 3600)
    assert not os.path.lexists(store.blobs.path(linked))
    assert stranger.is_symlink()
    assert named.is_symlink()
    assert (weights.read_bytes(), foreign.read_bytes()) == (DATA, b"other")


def test_a_file_that_is_gone_is_told_by_name(store: Store, weights: Path, linked: str) -> None:
    weights.rename(weights.with_name("elsewhere.gguf"))
    (model,) = store.list()
    (part,) = model.linked
    assert part.state == "gone"
    assert part.note.startswith(f"The file {weights} of model m:latest is gone: ")
    assert "`puna rm m:latest`" in part.note
    with pytest.raises(LinkedFileLost, match="is gone"):
        model.check_files()
    weights.with_name("elsewhere.gguf").rename(weights)
    store.get(M).check_files()
    assert store.get(M).linked[0].state == "sound"


def test_a_file_that_has_changed_is_told_by_name(store: Store, weights: Path, linked: str) -> None:
    with weights.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\1\1\1\1")
    os.utime(weights, ns=(10**18, 10**18))
    assert store.get(M).linked[0].state == "unchecked"
    with pytest.raises(LinkedFileLost, match="has changed since it was imported"):
        store.get(M).check_files()
    assert store.get(M).linked[0].state == "changed"
    weights.write_bytes(DATA + b"more")
    assert store.get(M).linked[0].state == "changed"
    weights.write_bytes(DATA)
    store.get(M).check_files()
    assert store.get(M).linked[0].state == "sound"


def test_a_new_time_alone_costs_one_reading(store: Store, weights: Path, linked: str) -> None:
    os.utime(weights, ns=(10**18, 10**18))
    assert store.get(M).linked[0].state == "unchecked"
    assert "is checked when it runs next" in store.get(M).linked[0].note
    store.get(M).check_files()
    assert store.get(M).linked[0].state == "sound"


def test_a_download_heals_a_broken_link(store: Store, weights: Path, linked: str) -> None:
    weights.unlink()
    digest, is_new = store.blobs.write(DATA)
    assert (digest, is_new) == (linked, True)
    assert not store.blobs.path(linked).is_symlink()
    assert store.get(M).linked == ()
    store.get(M).check_files()


def test_records_outlive_the_program_and_are_shared(tmp_path: Path, weights: Path) -> None:
    records = tmp_path / "state" / "links.json"
    first, second = (Store(tmp_path / "models", links=Links(records)) for _ in range(2))
    digest = link(first, weights)
    second.create(CreateRequest(model="m", files={"w.gguf": digest}), lambda _: None)
    os.utime(weights, ns=(10**18, 10**18))
    assert second.get(M).linked[0].state == "unchecked"
    third = Store(tmp_path / "models", links=Links(records))
    assert third.get(M).linked[0].state == "unchecked"
    third.delete(M)
    assert records.read_bytes() == b"{}"


def test_a_link_without_a_record_is_checked_by_its_size(
    tmp_path: Path, store: Store, weights: Path, linked: str
) -> None:
    other = Store(store.root)
    assert other.get(M).linked[0].state == "sound"
    weights.write_bytes(DATA + b"more")
    assert other.get(M).linked[0].state == "changed"
    weights.unlink()
    assert str(weights) in other.get(M).linked[0].note


def test_damaged_records_are_no_reason_to_fail(tmp_path: Path, weights: Path) -> None:
    records = tmp_path / "links.json"
    records.write_bytes(b"{")
    store = Store(tmp_path / "models", links=Links(records))
    link(store, weights)
    assert weights.stat().st_size == len(DATA)


def test_where_no_link_can_be_symbolic_a_hard_one_stands_in(
    store: Store, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows without developer mode."""

    def refuse(*_: object) -> None:
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(os, "symlink", refuse)
    digest = link(store, weights)
    store.create(CreateRequest(model="m", files={"w.gguf": digest}), lambda _: None)
    assert os.path.samefile(store.blobs.path(digest), weights)
    weights.write_bytes(DATA[:-4] + b"\1\1\1\1")
    with pytest.raises(LinkedFileLost, match=str(weights)):
        store.get(M).check_files()
    assert 0 < store.delete(M) < len(DATA)
    assert weights.exists()
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(LinkRefused, match="puna create"):
        link(store, weights)
    assert os.listdir(store.blobs.folder) == []


def test_looking_does_not_wait_for_a_reading(
    store: Store, weights: Path, linked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file takes a while to hash; the list answers meanwhile."""
    os.utime(weights, ns=(10**18, 10**18))
    has_begun, may_end = threading.Event(), threading.Event()

    def slowly(path: Path) -> tuple[str, os.stat_result]:
        has_begun.set()
        assert may_end.wait(30)
        return hash_file(path)

    monkeypatch.setattr("server.store.links.hash_file", slowly)
    thread = threading.Thread(target=store.get(M).check_files)
    thread.start()
    try:
        assert has_begun.wait(30)
        assert [part.state for part in store.list()[0].linked] == ["unchecked"]
    finally:
        may_end.set()
        thread.join(30)
    assert [part.state for part in store.list()[0].linked] == ["sound"]
