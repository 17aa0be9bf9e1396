"""One file from folder to folder, and the list of those that go.

On one file system a file gets a second name in the new folder (a hard link) and loses the first one at the end: that
is what a rename does, but both folders are whole all the time between. Elsewhere it is copied, hashed on the way,
written to the disk, and read again from there before it counts. A link stays a link.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from server.errors import StoreError
from server.store import digests
from server.store.files import create_temporary, make_folder
from server.store.moving.journal import Item

PIECE_BYTES = 1024 * 1024
_PARTIAL = re.compile(r"sha256-[0-9a-f]{64}-partial(-\d+)?")
Tell = Callable[[int], None]


def list_items(root: Path) -> list[Item]:
    """Blobs, downloads that can be resumed, and manifests; everything else in the folder is someone's own. Raises
    OSError."""
    found = []
    for path in _entries(root / "blobs"):
        is_blob = digests.is_digest(path.name)
        if is_blob or _PARTIAL.fullmatch(path.name):
            found.append(_item(root, path, is_fixed=is_blob))
    for host in _entries(root / "manifests"):
        for namespace in _entries(host):
            for model in _entries(namespace):
                found += [_item(root, tag, is_fixed=False) for tag in _entries(model)]
    return [item for item in found if item is not None]


def _item(root: Path, path: Path, *, is_fixed: bool) -> Item | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    is_link = stat.S_ISLNK(status.st_mode)
    if not is_link and not stat.S_ISREG(status.st_mode):
        return None
    return Item(
        path=path.relative_to(root).as_posix(),
        size=0 if is_link else status.st_size,
        modified_ns=status.st_mtime_ns,
        link=os.readlink(path) if is_link else "",
        is_fixed=is_fixed,
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_there(item: Item, source: Path, target: Path) -> bool:
    """Whether the new folder has it as it is. Files get their names only when they are whole."""
    path = target / item.path
    try:
        status = path.lstat()
    except OSError:
        return False
    if item.link:
        return stat.S_ISLNK(status.st_mode) and os.readlink(path) == _link_text(item, source)
    if not stat.S_ISREG(status.st_mode):
        return False
    return status.st_size == item.size and (item.is_fixed or status.st_mtime_ns == item.modified_ns)


def place(item: Item, source: Path, target: Path, tell: Tell) -> None:
    """Bring one file into the new folder. `tell` gets the bytes that are done. Raises OSError, StoreError; a file that
    has vanished meanwhile is passed over."""
    old, new = source / item.path, target / item.path
    make_folder(new.parent)
    with _temporary(target) as temporary:
        if item.link:
            os.symlink(_link_text(item, source), temporary)
        else:
            try:
                if not _second_name(old, temporary):
                    _copy(old, temporary, tell)
            except FileNotFoundError:
                return
        os.replace(temporary, new)
    tell(item.size)


def can_share(items: Iterable[Item], source: Path, target: Path) -> bool:
    """Whether files of one folder can have a second name in the other; tried with one of them. Raises OSError."""
    file = next((item for item in items if not item.link), None)
    if file is None:
        return True
    with _temporary(target) as temporary:
        return _second_name(source / file.path, temporary)


@contextlib.contextmanager
def _temporary(root: Path) -> Iterator[Path]:
    """A name that is free, and swept up at some start where a crash leaves a file there."""
    handle, path = create_temporary(root / "blobs")
    os.close(handle)
    path.unlink()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _link_text(item: Item, source: Path) -> str:
    """A relative link is relative to where it was."""
    return os.path.normpath(os.path.join((source / item.path).parent, item.link))


def _second_name(old: Path, new: Path) -> bool:
    try:
        os.link(old, new)
    except FileNotFoundError:
        raise
    except (OSError, NotImplementedError):
        return False
    return True


def _copy(old: Path, new: Path, tell: Tell) -> None:
    written, done = hashlib.sha256(), 0
    with old.open("rb", buffering=0) as reader, new.open("xb", buffering=0) as writer:
        while piece := reader.read(PIECE_BYTES):
            view = memoryview(piece)
            while view:
                view = view[writer.write(view) :]
            written.update(piece)
            done += len(piece)
            tell(done)
        os.fsync(writer.fileno())
        _forget_cached(writer.fileno())
        status = os.fstat(reader.fileno())
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    with new.open("rb") as again:
        if hashlib.file_digest(again, "sha256").digest() != written.digest():
            raise StoreError(
                f"the copy of {old.name} on the new disk differs from the file; nothing was changed in the old folder. "
                "Check the new disk, or choose another"
            )


def _forget_cached(handle: int) -> None:
    """So that reading again means reading from the disk."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
