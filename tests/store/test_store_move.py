"""Moving the model folder (model-store 9, 27, 34: nothing is lost on the way, and what is not ours stays)."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import Cancelled, DiskFull, FolderMissing, FolderMoving, MoveRefused, StoreError
from server.messages.chat import Progress
from server.messages.names import ModelName
from server.store import CreateRequest, Store
from server.store.digests import digest_of
from server.store.links import Links
from server.store.moving import Mover, transfer
from server.store.presence import Presence
from tests.store.gguf_builder import small_model
from tests.store.test_store_crash import check_whole
from tests.store.test_store_links import link

ROOT = Path(__file__).parents[2]
ROUNDS = 48
PARTIAL = "sha256-" + "b" * 64 + "-partial"
LISTED = ["a:latest", "b:latest", "linked:latest"]
Tell = Callable[[Progress], None]


def ignore(_progress: Progress) -> None: ...


@pytest.fixture(params=[True, False], ids=["one disk", "two disks"])
def shares(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a file can have two names in the two folders; a folder on another disk, or FAT, refuses that."""
    if not request.param:

        def refuse(*_: object) -> None:
            raise OSError("Invalid cross-device link")

        monkeypatch.setattr(os, "link", refuse)
    return bool(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`old` with models, a linked one, half a download, and files of others."""
    store, _ = opened(tmp_path)
    store.prepare()
    digest, _ = store.blobs.write(small_model().encoded())
    store.create(CreateRequest(model="a", files={"a.gguf": digest}, system="one"), ignore)
    store.create(CreateRequest.read({"model": "b", "from": "a", "license": "MIT"}), ignore)
    theirs = tmp_path / "theirs.gguf"
    theirs.write_bytes(small_model(general__name="theirs").encoded())
    store.create(CreateRequest(model="linked", files={"a.gguf": link(store, theirs)}), ignore)
    (store.blobs.folder / PARTIAL).write_bytes(b"half a download")
    (store.blobs.folder / f"{PARTIAL}-0").write_bytes(b"{}")
    (store.blobs.folder / "notes.txt").write_bytes(b"mine")
    (store.root / "readme").write_bytes(b"mine too")
    return tmp_path


def opened(folder: Path, **more: object) -> tuple[Store, Mover]:
    state = folder / "state"
    presence = Presence(state / "folders.json")
    store = Store(folder / "old", links=Links(state / "links.json"), presence=presence)
    switched: list[Path] = []
    return store, Mover(store, state_folder=state, switch=switched.append)


def listed(store: Store) -> list[str]:
    return sorted(model.name.short for model in store.list())


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())


def check_moved(folder: Path, store: Store) -> None:
    assert listed(store) == LISTED
    for model in store.list():
        model.check_files()
        assert model.gguf is not None
    assert (folder / "new" / "blobs" / PARTIAL).read_bytes() == b"half a download"
    assert files(folder / "old") == ["blobs/notes.txt", "readme"]
    assert (folder / "theirs.gguf").exists()
    assert store.get(ModelName.parse("linked")).linked[0].path == str(folder / "theirs.gguf")


def test_all_is_moved_and_what_is_not_ours_stays(folder: Path, shares: bool) -> None:
    """9: sizes, digests and times are those of before."""
    store, mover = opened(folder)
    before = [(model.name, model.digest, model.size, model.modified_at) for model in store.list()]
    lines: list[Progress] = []
    mover.move(folder / "new", lines.append)
    assert [(model.name, model.digest, model.size, model.modified_at) for model in store.list()] == before
    check_moved(folder, store)
    statuses = list(dict.fromkeys(line.status for line in lines))
    assert statuses[:4] == ["preparing", "copying", "waiting for running answers", "deleting the old folder"]
    assert statuses[4].startswith(f"left in {folder / 'old'}, because Puna did not put it there: blobs, readme")
    assert statuses[5:] == ["success"]
    assert max(line.completed for line in lines) == max(line.total for line in lines) > 0
    assert mover.pending() is None
    again = Store(folder / "new", links=Links(folder / "state" / "links.json"))
    check_moved(folder, again)
    store.delete(ModelName.parse("a"))  # and everything works in the new place
    assert not (folder / "old" / "manifests").exists()


def test_to_a_disk_that_really_is_another(folder: Path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is no second file system here")
    with tempfile.TemporaryDirectory(dir=memory) as other:
        store, mover = opened(folder)
        mover.move(Path(other) / "new", ignore)
        check_whole_links(store)
        assert store.root == Path(other) / "new"
        assert files(folder / "old") == ["blobs/notes.txt", "readme"]


def check_whole_links(store: Store) -> None:
    """Every blob has the content that its name says."""
    assert listed(store) == LISTED
    for model in store.list():
        model.check_files()
        assert all(digest_of(store.blobs.read(digest)) == digest for digest in model.manifest.digests)


def test_a_folder_with_nothing_else_in_it_goes_away(tmp_path: Path, shares: bool) -> None:
    store, mover = opened(tmp_path)
    store.prepare()
    digest, _ = store.blobs.write(small_model().encoded())
    store.create(CreateRequest(model="a", files={"a.gguf": digest}), ignore)
    mover.move(tmp_path / "new", ignore)
    assert not (tmp_path / "old").exists()
    check_whole(store)
    mover.move(tmp_path / "old", ignore)
    assert not (tmp_path / "new").exists()
    assert listed(store) == ["a:latest"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("old", "are in .*old already"),
        ("old/sub", "lie inside one another"),
        (".", "lie inside one another"),
        ("same", "are in .*same already"),
        ("theirs.gguf", "is a file; choose a folder"),
        ("gone/new", "gone does not exist; attach its drive"),
        ("full", r"is not empty \(it has x\); choose a new or an empty folder, such as .*full/models"),
    ],
)
def test_targets_that_are_refused(folder: Path, place: str, words: str) -> None:
    (folder / "same").symlink_to(folder / "old")
    (folder / "full").mkdir()
    (folder / "full" / "x").write_bytes(b"")
    _store, mover = opened(folder)
    before = files(folder)
    with pytest.raises(MoveRefused, match=words):
        mover.move(folder / place, ignore)
    assert files(folder) == before
    assert mover.pending() is None


def test_a_relative_target_is_refused(folder: Path) -> None:
    with pytest.raises(MoveRefused, match="absolute"):
        opened(folder)[1].move(Path("new"), ignore)


def test_the_top_of_a_new_drive_counts_as_empty(folder: Path) -> None:
    for name in ("lost+found", ".Trash-1000", "System Volume Information"):
        (folder / "new" / name).mkdir(parents=True)
    store, mover = opened(folder)
    mover.move(folder / "new", ignore)
    assert listed(store) == LISTED
    assert (folder / "new" / "lost+found").is_dir()


def test_space_is_checked_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(2000, 1000, 1000))
    store, mover = opened(folder)
    mover.move(folder / "new", ignore)  # a second name takes no space
    monkeypatch.setattr(transfer, "_second_name", lambda *_: False)
    with pytest.raises(DiskFull, match=r"the models take \d+ bytes, and the disk of .*back has 1000 free"):
        mover.move(folder / "back", ignore)
    assert listed(store) == LISTED
    assert store.root == folder / "new"


def test_a_copy_that_differs_ends_the_move(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that does not hold what was written to it."""
    monkeypatch.setattr(transfer, "_second_name", lambda *_: False)
    monkeypatch.setattr(
        transfer, "_forget_cached", lambda handle: os.pwrite(handle, b"\1", 0) if hasattr(os, "pwrite") else None
    )
    store, mover = opened(folder)
    with pytest.raises(StoreError, match="differs from the file; nothing was changed"):
        mover.move(folder / "new", ignore)
    assert listed(store) == LISTED
    assert store.root == folder / "old"
    monkeypatch.undo()
    mover.move(folder / "new", ignore)
    check_moved(folder, store)


def test_who_leaves_before_the_switch_stops_it(folder: Path, shares: bool) -> None:
    def leave(progress: Progress) -> None:
        if progress.completed:
            raise Cancelled()

    store, mover = opened(folder)
    with pytest.raises(Cancelled):
        mover.move(folder / "new", leave)
    assert store.root == folder / "old"
    assert listed(store) == LISTED
    pending = mover.pending()
    assert pending is not None
    assert pending.target == str(folder / "new")
    mover.move(folder / "new", ignore)
    check_moved(folder, store)


def test_who_leaves_after_the_switch_does_not(folder: Path) -> None:
    def leave(progress: Progress) -> None:
        if progress.status.startswith(("waiting for running", "deleting", "success")):
            raise Cancelled()

    store, mover = opened(folder)
    mover.move(folder / "new", leave)
    check_moved(folder, store)


def test_another_target_takes_back_what_came_to_the_first(folder: Path, shares: bool) -> None:
    def leave(progress: Progress) -> None:
        if progress.completed:
            raise Cancelled()

    store, mover = opened(folder)
    with pytest.raises(Cancelled):
        mover.move(folder / "first", leave)
    assert files(folder / "first")
    mover.move(folder / "new", ignore)
    check_moved(folder, store)
    assert not (folder / "first").exists()


def test_changes_while_it_copies_come_too(folder: Path, shares: bool) -> None:
    store, mover = opened(folder)
    has_changed = False

    def change(progress: Progress) -> None:
        nonlocal has_changed
        if progress.status == "copying" and progress.completed and not has_changed:
            has_changed = True
            store.create(CreateRequest.read({"model": "late", "from": "b", "system": "late"}), ignore)
            store.delete(ModelName.parse("a"))
            (store.blobs.folder / PARTIAL).write_bytes(b"more of a download")

    mover.move(folder / "new", change)
    assert listed(store) == ["b:latest", "late:latest", "linked:latest"]
    for model in store.list():
        model.check_files()
    assert store.get(ModelName.parse("late")).system == "late"
    assert (folder / "new" / "blobs" / PARTIAL).read_bytes() == b"more of a download"
    used = {digest.replace(":", "-") for model in store.list() for digest in model.manifest.digests}
    assert {name for name in os.listdir(store.blobs.folder) if "partial" not in name} == used
    assert files(folder / "old") == ["blobs/notes.txt", "readme"]


def test_who_writes_ends_first_and_who_comes_waits(folder: Path) -> None:
    store, mover = opened(folder)
    is_waiting = threading.Event()

    def tell(progress: Progress) -> None:
        if progress.status.startswith("waiting for downloads"):
            is_waiting.set()

    incoming = store.blobs.incoming()
    thread = threading.Thread(target=mover.move, args=(folder / "new", tell))
    with incoming:
        thread.start()
        assert is_waiting.wait(30)
        with pytest.raises(FolderMoving, match=f"are being moved to {folder / 'new'}; try again"):
            store.blobs.write(b"too late")
        with pytest.raises(FolderMoving):
            store.delete(ModelName.parse("a"))
        with pytest.raises(FolderMoving, match="already"):
            mover.move(folder / "other", ignore)
        assert listed(store) == LISTED  # who only looks is answered
        incoming.write(b"in time")
        incoming.keep(incoming.digest)
    thread.join(30)
    assert not thread.is_alive()
    check_moved(folder, store)
    digest, is_new = store.blobs.write(b"in time")
    assert not is_new
    assert store.blobs.path(digest).is_relative_to(folder / "new")


def test_the_old_files_wait_for_those_who_read_them(folder: Path) -> None:
    store, mover = opened(folder)
    seen: list[tuple[Path, list[str], list[str]]] = []

    def release(source: Path) -> None:
        seen.append((source, listed(store), listed(Store(source))))

    mover.move(folder / "new", ignore, release)
    assert seen == [(folder / "old", LISTED, LISTED)]


def test_what_another_program_changes_meanwhile_stays(folder: Path, shares: bool) -> None:
    """The reference knows nothing of the move and pulls into the old folder."""
    store, mover = opened(folder)

    def pull(source: Path) -> None:
        other = Store(source)
        digest, _ = other.blobs.write(small_model(general__name="new").encoded())
        other.create(CreateRequest(model="pulled", files={"x.gguf": digest}), ignore)
        other.create(CreateRequest.read({"model": "c", "from": "b"}), ignore)

    mover.move(folder / "new", ignore, pull)
    assert listed(store) == LISTED
    other = Store(folder / "old")
    assert listed(other) == ["c:latest", "pulled:latest"]
    check_whole(other)


def test_a_missing_folder_is_not_moved(folder: Path) -> None:
    _store, mover = opened(folder)
    (folder / "old").rename(folder / "unplugged")
    with pytest.raises(FolderMissing):
        mover.move(folder / "new", ignore)
    assert not (folder / "new").exists()


def test_the_starter_model_does_not_come_again(folder: Path) -> None:
    """Its mark moves along: who has deleted it once does not get it back."""
    store, mover = opened(folder)
    weights = folder / "starter.gguf"
    weights.write_bytes(small_model().encoded())
    install = {"path": weights, "state_folder": folder / "state", "name": "starter"}
    assert store.install_builtin(**install)  # type: ignore[arg-type]
    store.delete(ModelName.parse("starter"))
    mover.move(folder / "new", ignore)
    assert not store.install_builtin(**install)  # type: ignore[arg-type]
    assert listed(store) == LISTED


# ---- killed at any moment ------------------------------------------------------------------------------------------


def perform(jobs: list[dict[str, object]]) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.move_child"],
        input=json.dumps(jobs), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    statuses = json.loads(done.stdout)
    assert 1 not in statuses, done.stderr
    return list(statuses)


def check_in_place(folder: Path, where: Path) -> None:
    """All models, whole, where the settings say."""
    store = Store(where, links=Links(folder / "state" / "links.json"))
    check_whole_links(store)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the child forks for each round")
@pytest.mark.parametrize("shares", [True, False], ids=["one disk", "two disks"])
def test_killed_at_any_moment(folder: Path, shares: bool, tmp_path: Path) -> None:
    from tests.store.move_child import opened as opened_by_settings

    chance = random.Random(f"move {shares}")
    template = tmp_path / "template"
    template.mkdir()
    for name in ("old", "state"):
        shutil.copytree(folder / name, template / name, symlinks=True)
    rounds = [tmp_path / f"round {number}" for number in range(ROUNDS + 1)]
    for place in rounds:
        shutil.copytree(template, place, symlinks=True)
    perform([{"folder": str(rounds[0]), "kill_at": -1, "shares": shares}])
    total = int((rounds[0] / "count").read_text())
    assert total > ROUNDS
    # Once everywhere, evenly; then again at random, in what the first kill has left.
    first = [1 + number * total // ROUNDS for number in range(ROUNDS)]
    second = [chance.randint(1, total) for _ in range(ROUNDS)]
    places: set[str] = set()
    for kills in (first, second):
        statuses = perform(
            [
                {"folder": str(place), "kill_at": kill_at, "shares": shares}
                for place, kill_at in zip(rounds[1:], kills, strict=True)
            ]
        )
        assert statuses.count(-9) >= (ROUNDS if kills is first else ROUNDS // 4)
        for place in rounds[1:]:
            store, _ = opened_by_settings(place)
            places.add(store.root.name)
            check_in_place(place, store.root)
            assert (place / "old" / "readme").read_bytes() == b"mine too"
    assert places == {"old", "new"}
    assert set(perform([{"folder": str(place), "kill_at": -1, "shares": shares} for place in rounds[1:]])) == {0}
    for place in rounds:
        check_in_place(place, place / "new")
        assert files(place / "old") == ["blobs/notes.txt", "readme"]
        assert not (place / "state" / "move.json").exists()
        assert {name for name in os.listdir(place / "new" / "blobs") if "partial" in name} == {PARTIAL, f"{PARTIAL}-0"}
