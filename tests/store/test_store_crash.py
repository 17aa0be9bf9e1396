"""A crash at any moment, and two programs at once, leave whole models alone."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.errors import InvalidRequest, ModelNotFound, NotImplementedYet, StoreError
from server.messages.names import ModelName
from server.store import CreateRequest, Store
from tests.store.gguf_builder import small_model

ROOT = Path(__file__).parents[2]
ROUNDS = 30
# What the child's changes make of the list, one after the other.
STATES = [[], ["a:latest"], ["a:latest", "b:latest"], ["b:latest"], ["b:latest", "c:latest"], ["c:latest"]]


def child(root: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.store.crash_child", str(root), str(kill_at)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def check_whole(store: Store) -> None:
    """Every model that is listed has all its blobs, with the right content."""
    for model in store.list():
        for digest in model.manifest.digests:
            assert store.blobs.has(digest), f"{model.name} lacks {digest}"
        assert model.gguf is not None
        assert model.size == sum(store.blobs.path(layer.digest).stat().st_size for layer in model.manifest.layers) + (
            store.blobs.path(model.manifest.config.digest).stat().st_size
        )


def test_killed_at_any_moment(tmp_path: Path) -> None:
    finished = child(tmp_path / "all", 10**9)
    assert finished.returncode == 0, finished.stderr
    total = int(finished.stdout)
    assert total > ROUNDS
    seen = set()
    for number in range(ROUNDS):
        root = tmp_path / str(number)
        killed = child(root, 1 + number * total // ROUNDS)
        assert killed.returncode == -9, killed.stderr
        store = Store(root)
        listed = sorted(model.name.short for model in store.list())
        assert listed in STATES
        seen.add(tuple(listed))
        check_whole(store)
        store.prepare(now=time.time() + 7200)
        assert sorted(model.name.short for model in store.list()) == listed
        check_whole(store)
        used = {digest.replace(":", "-") for model in store.list() for digest in model.manifest.digests}
        assert set(os.listdir(store.blobs.folder)) == used
        digest, _ = store.blobs.write(small_model().encoded())
        store.create(CreateRequest(model="again", files={"a.gguf": digest}), lambda _: None)
        check_whole(store)
    assert len(seen) > 3


def work(store: Store, seed: int) -> int:
    """Random changes of a few names; how many of them succeeded."""
    chance = random.Random(seed)
    names = [ModelName.parse(text) for text in ("a", "b", "me/c", "me/d:2")]
    succeeded = 0
    for _ in range(40):
        first, second = chance.sample(names, 2)
        try:
            kind = chance.randrange(4)
            if kind == 0:
                digest, _ = store.blobs.write(small_model().encoded())
                request = {"model": first.short, "files": {"x.gguf": digest}, "system": str(chance.randrange(3))}
                store.create(CreateRequest.read(request), lambda _: None)
            elif kind == 1:
                request = {"model": first.short, "from": second.short, "template": str(chance.randrange(3))}
                store.create(CreateRequest.read(request), lambda _: None)
            elif kind == 2:
                store.copy(first, second)
            else:
                store.delete(first)
            succeeded += 1
        except (ModelNotFound, NotImplementedYet, StoreError, InvalidRequest):
            pass  # the other one was faster
        with store.changing():
            check_whole(store)
    return succeeded


def test_two_stores_on_one_folder(tmp_path: Path) -> None:
    stores = [Store(tmp_path / "models") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        succeeded = list(pool.map(work, stores, (1, 2)))
    assert min(succeeded) > 5
    stores[0].prepare(now=time.time() + 7200)
    used = {digest.replace(":", "-") for model in stores[1].list() for digest in model.manifest.digests}
    assert set(os.listdir(stores[0].blobs.folder)) == used


if sys.platform != "win32":  # which has no lock of this kind, so none is promised there
    import fcntl

    def test_other_processes_wait(store: Store) -> None:
        handle = os.open(store.root, os.O_RDONLY)
        try:
            with store.changing(), pytest.raises(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
