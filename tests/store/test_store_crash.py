"""A crash at any moment, and two programs at once, leave whole models alone."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from server.errors import ModelNotFound
from server.store import CreateRequest, Store
from tests.store.crash_child import CHANGES, State, plan
from tests.store.gguf_builder import small_model
from tests.store.rival_child import check_whole, work

ROOT = Path(__file__).parents[2]
PLANS, KILLS = 10, 20  # kills of each plan, at moments that fixed numbers choose
MEMORY = Path("/dev/shm")  # what a kill leaves does not depend on the disk, and syncing is quick here


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as name:
        yield Path(name)


def crash(root: Path, rounds: list[tuple[int, int]]) -> list[dict[str, int]]:
    words = [f"{plan}:{kill_at}" for plan, kill_at in rounds]
    command = [sys.executable, "-m", "tests.store.crash_child", str(root), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def installed(store: Store) -> State:
    """What the store lists, in the terms of a plan."""
    check_whole(store)
    return {
        model.name.short.removesuffix(":latest"): (model.system, model.gguf.text("general.name"))
        for model in store.list()
        if model.gguf
    }


def read_until(store: Store, over: threading.Event) -> set[str]:
    """The names that were listed meanwhile. What is listed may be deleted while one looks at it."""
    seen = set()
    while not over.is_set():
        for model in store.list():
            seen.add(model.name.short)
            model.details(with_lengths=True)
            with contextlib.suppress(ModelNotFound):
                store.get(store.resolve(model.name.full))
    return seen


def used(store: Store) -> set[str]:
    return {digest.replace(":", "-") for model in store.list() for digest in model.manifest.digests}


if sys.platform != "win32":

    def test_killed_at_any_moment(folder: Path) -> None:
        """200 kills during create, replace, copy and delete: what is listed is what was whole, with its content, before
        or after the change that was cut off; the next start leaves no other file, and the folder can be used on."""
        totals = [outcome["calls"] for outcome in crash(folder, [(plan, 0) for plan in range(PLANS)])]
        assert min(totals) > 10 * KILLS
        chance = random.Random(20261126)
        rounds = [(plan, at) for plan in range(PLANS) for at in chance.sample(range(1, totals[plan] + 1), KILLS)]
        moments = set()
        for (number, kill_at), outcome in zip(rounds, crash(folder, rounds), strict=True):
            assert outcome["status"] == signal.SIGKILL
            done = outcome["finished"]
            states: list[State] = [{}, *(state for _, state in plan(number))]
            store = Store(folder / f"{number}-{kill_at}")
            listed = installed(store)
            assert listed in states[done : done + 2], f"plan {number}, killed at {kill_at}, change {done}"
            moments.add((number, done))
            store.prepare(now=time.time() + 7200)
            assert installed(store) == listed
            assert set(os.listdir(store.blobs.folder)) == used(store)
            digest, _ = store.blobs.write(small_model().encoded())
            store.create(CreateRequest(model="again", files={"a.gguf": digest}), lambda _: None)
            check_whole(store)
        assert len(moments) > PLANS * CHANGES // 2


class Syscalls:
    """What a store does to its files, in order: names of functions with their paths."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, str, str]] = []
        for name in ("fsync", "replace", "unlink"):
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))

    def _noting(self, name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(first: Any, *more: Any, **named: Any) -> None:
            path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else os.fspath(first)
            self.seen.append((name, path, os.fspath(more[0]) if more else ""))
            real(first, *more, **named)

        return call


if sys.platform == "linux":

    def test_everything_is_on_the_disk_before_it_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file is synced before it gets its name, its folder afterwards, and a manifest's removal before that of its
        blobs: after a power cut there is no manifest without its blobs."""
        calls = Syscalls(monkeypatch).seen
        for change, _ in plan(1):
            change.make(store)
        renames = [at for at, (name, _, _) in enumerate(calls) if name == "replace"]
        assert len(renames) > CHANGES
        for at in renames:
            _, temporary, final = calls[at]
            assert ("fsync", temporary, "") in calls[:at]
            assert ("fsync", str(Path(final).parent), "") in calls[at:]
        manifests = [at for at, (name, path, _) in enumerate(calls) if name == "unlink" and "/manifests/" in path]
        for at in manifests:
            assert calls[at + 1] == ("fsync", str(Path(calls[at][1]).parent), "")


def test_two_stores_on_one_folder(tmp_path: Path) -> None:
    stores = [Store(tmp_path / "models") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        succeeded = list(pool.map(work, stores, (1, 2)))
    assert min(succeeded) > 5
    stores[0].prepare(now=time.time() + 7200)
    assert set(os.listdir(stores[0].blobs.folder)) == used(stores[1])


if sys.platform != "win32":  # which has no lock of this kind, so none is promised there
    import fcntl

    def test_two_programs_and_readers_on_one_folder(folder: Path) -> None:
        """Two programs change the same names while three readers list, resolve and read: nobody fails, and what is
        left is whole."""
        command = [sys.executable, "-m", "tests.store.rival_child", str(folder)]
        rivals = [subprocess.Popen([*command, seed], cwd=ROOT, stdout=subprocess.PIPE, text=True) for seed in "12"]
        over = threading.Event()
        with ThreadPoolExecutor(3) as pool:
            readers = [pool.submit(read_until, Store(folder), over) for _ in range(3)]
            succeeded = [int(rival.communicate()[0]) for rival in rivals]
            over.set()
            seen = set[str]().union(*(reader.result() for reader in readers))
        assert [rival.returncode for rival in rivals] == [0, 0]
        assert min(succeeded) > 5
        assert len(seen) > 1
        store = Store(folder)
        check_whole(store)
        store.prepare(now=time.time() + 7200)
        assert set(os.listdir(store.blobs.folder)) == used(store)

    def test_other_processes_wait(store: Store) -> None:
        handle = os.open(store.root, os.O_RDONLY)
        try:
            with store.changing(), pytest.raises(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
