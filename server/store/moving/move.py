"""The move: copy, verify, switch, delete.

1. Everything is brought into the new folder while models are used, made and pulled as ever.
2. The gate closes: who is writing ends first, who comes is told to wait. What has changed meanwhile follows, and the
   new folder is the mirror of the old.
3. The settings file is switched, which is one rename, and the store with it. From here on requests find the models in
   the new folder.
4. Runners that have files of the old folder open end when nobody uses them; then the old files are deleted: those
   that are in the list of what was moved, and that no other program has changed. Whatever else is there stays.

A journal tells how far it came. A move that ends in step 1 or 2 leaves the old folder as it was, and goes on when it
is asked for again; one that ends in 3 or 4 is finished at the next start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from server.errors import Cancelled, FolderMoving
from server.messages.chat import Progress
from server.store import builtin, sweep
from server.store.files import make_folder, store_errors, sync_folder
from server.store.manifests import Manifests
from server.store.moving import transfer
from server.store.moving.journal import Item, Journal, MoveRecord
from server.store.moving.target import check_space, check_target

if TYPE_CHECKING:
    from server.store.store import Store

REPORT_BYTES = 64 * 1024 * 1024
WAIT_SECONDS = 0.5
_log = logging.getLogger(__name__)
Report = Callable[[Progress], None]


class Mover:
    """One for a store. `state_folder` has the journal and the marks of what is installed; `switch` writes the new
    folder into the settings."""

    def __init__(self, store: Store, *, state_folder: Path, switch: Callable[[Path], None]) -> None:
        self._store = store
        self._state_folder = state_folder
        self._journal = Journal(state_folder / "move.json")
        self._switch = switch
        self._one_at_a_time = threading.Lock()

    def pending(self) -> MoveRecord | None:
        """A move that has begun and not ended."""
        return self._journal.read()

    @property
    def is_moving(self) -> bool:
        return self._one_at_a_time.locked()

    def move(self, target: Path, report: Report, release: Callable[[Path], None] = lambda _source: None) -> None:
        """`release` returns when no runner has a file of the old folder open. Raises MoveRefused, DiskFull, StoreError,
        and Cancelled from `report`, which is heard until the switch."""
        if not self._one_at_a_time.acquire(blocking=False):
            raise FolderMoving("the model folder is being moved already; wait for the end of that")
        try:
            self.finish()
            with store_errors("move the models"):
                record = self._move(Path(os.path.normpath(target)), report)
                self._end(record, _unstoppable(report), release)
        finally:
            self._one_at_a_time.release()

    def finish(self) -> None:
        """End a move that came as far as the switch. At a start, and before another move. Raises StoreError."""
        record = self._journal.read()
        if record is None or not _is_same(self._store.root, Path(record.target)):
            return
        _log.info("finishing the move of the models from %s to %s", record.source, record.target)
        with store_errors("delete the old model folder"):
            self._delete(record)

    # ---- the steps -------------------------------------------------------------------------------------------------

    def _move(self, target: Path, report: Report) -> MoveRecord:
        """As far as the switch."""
        source = self._store.root
        self._store.check_present()
        begun = self._journal.read()
        is_resumed = begun is not None and begun.source == str(source) and begun.target == str(target)
        check_target(source, target, is_resumed=is_resumed)
        if begun is not None and not is_resumed:
            self._undo(begun)
        record = MoveRecord(source=str(source), target=str(target))
        self._journal.write(record)
        report(Progress(status="preparing"))
        make_folder(target / "blobs")
        make_folder(target / "manifests")
        missing = _missing(source, target)
        if not transfer.can_share(missing, source, target):
            check_space(missing, target)
        self._bring(missing, source, target, report)
        with self._store.blobs.gate.closed(f"the models are being moved to {target}; try again in a moment"):
            self._wait_for_writers(report)
            with self._store.changing():
                record = self._mirror(record, report)
                self._switch(target)
                self._store.relocate(target)
                self._journal.write(msgspec.structs.replace(record, phase="deleting"))
        return record

    def _end(self, record: MoveRecord, report: Report, release: Callable[[Path], None]) -> None:
        report(Progress(status="waiting for running answers"))
        release(Path(record.source))
        report(Progress(status="deleting the old folder"))
        left = self._delete(record)
        if left:
            report(Progress(status=f"left in {record.source}, because Puna did not put it there: {', '.join(left)}"))
        report(Progress(status="success"))

    def _bring(self, items: Iterable[Item], source: Path, target: Path, report: Report) -> None:
        """Tells bytes of all items together."""
        items = list(items)
        total, done, told = sum(item.size for item in items), 0, 0
        report(Progress(status="copying", total=total))
        for item in items:

            def tell(of_this: int, before: int = done) -> None:
                nonlocal told
                if before + of_this - told >= REPORT_BYTES:
                    told = before + of_this
                    report(Progress(status="copying", total=total, completed=told))

            transfer.place(item, source, target, tell)
            done += item.size
        parents = {parent for item in items for parent in Path(item.path).parents}
        for parent in sorted(parents, reverse=True):
            sync_folder(target / parent)
        report(Progress(status="copying", total=total, completed=total))

    def _wait_for_writers(self, report: Report) -> None:
        """Somebody who leaves meanwhile is heard here."""
        while not self._store.blobs.gate.wait_until_empty(WAIT_SECONDS):
            report(Progress(status="waiting for downloads and creations to end"))

    def _mirror(self, record: MoveRecord, report: Report) -> MoveRecord:
        """The new folder exactly as the old one is now; the record with the list, written down."""
        source, target = Path(record.source), Path(record.target)
        self._bring(_missing(source, target), source, target, report)
        items = transfer.list_items(source)
        wanted = {item.path for item in items}
        for item in transfer.list_items(target):
            if item.path not in wanted:
                (target / item.path).unlink(missing_ok=True)
        record = msgspec.structs.replace(record, items=tuple(items))
        self._journal.write(record)
        return record

    def _delete(self, record: MoveRecord) -> list[str]:
        """What is left in the old folder. Raises OSError, StoreError."""
        source, target = Path(record.source), Path(record.target)
        builtin.carry_markers(self._state_folder, source, target)
        manifests = [item for item in record.items if item.path.startswith("manifests/")]
        for item in manifests:
            _unlink(item, source, target)
        needed = _still_needed(source)
        for item in record.items:
            if item.path.startswith("blobs/") and item.path.removeprefix("blobs/") not in needed:
                _unlink(item, source, target)
        sweep.remove_old_temporaries(source / "blobs", time.time())
        _remove_empty(source)
        self._store.presence.forget(source)
        self._journal.clear()
        try:
            return sorted(os.listdir(source))
        except OSError:
            return []

    def _undo(self, record: MoveRecord) -> None:
        """Take back what a move to yet another folder has brought there, as far as that can be reached."""
        source, target = Path(record.source), Path(record.target)
        if _is_same(self._store.root, source):
            own = {item.path for item in transfer.list_items(source)}
            for item in transfer.list_items(target):
                if item.path in own:
                    with contextlib.suppress(OSError):
                        (target / item.path).unlink()
            _remove_empty(target)
        self._journal.clear()


def _missing(source: Path, target: Path) -> list[Item]:
    return [item for item in transfer.list_items(source) if not transfer.is_there(item, source, target)]


def _is_same(first: Path, second: Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def _unlink(item: Item, source: Path, target: Path) -> None:
    """Unless it is another file by now. One that has its second name in the new folder is the same, whatever has been
    written to it there."""
    path = source / item.path
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    is_link = path.is_symlink()
    is_same = (os.readlink(path) == item.link) if is_link else not item.link and status.st_size == item.size
    is_same = is_same and (is_link or item.is_fixed or status.st_mtime_ns == item.modified_ns)
    if is_same or _is_second_name(status, target / item.path):
        path.unlink()


def _is_second_name(status: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(status, path.lstat())
    except OSError:
        return False


def _still_needed(source: Path) -> set[str]:
    """File names of blobs that manifests which another program has written since need."""
    used = Manifests(source / "manifests", source / "blobs").used_digests()
    return {digest.replace(":", "-") for digest in used}


def _remove_empty(root: Path) -> None:
    """The folders of the layout, and the root where nothing is left in it."""
    for folder, _, _ in os.walk(root / "manifests", topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    for path in (root / "blobs", root):
        with contextlib.suppress(OSError):
            path.rmdir()


def _unstoppable(report: Report) -> Report:
    """After the switch a client that leaves changes nothing any more."""

    def tell(progress: Progress) -> None:
        with contextlib.suppress(Cancelled):
            report(progress)

    return tell
