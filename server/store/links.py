"""Blobs that are another program's files, used where they are.

Why a symbolic link, and neither a hard link nor a reference of our own:

- The blobs folder must mean the same to every program that shares it. The reference opens `blobs/sha256-<digest>` by
  its name, so there must be something of that name which opens as the file; a reference in a list of ours alone would
  be a model that it cannot load.
- Neither program ever deletes what a symbolic link leads to. Deleting the model unlinks the link, and the sweep at a
  start passes over everything that is no plain file. A hard link is the file itself: the owner deletes the model to
  make room and nothing is freed, because our name still holds the bytes; then deleting ours deletes the last copy of
  something that we did not write.
- No kind of link keeps the bytes from changing: what overwrites the file in place changes the blob under its digest.
  With a symbolic link the loss of the file shows at once, and a pull of the same model heals it, because both programs
  rename a finished download over the link.

So a symbolic link it is, absolute and to the real file. Setting a blob's time, as both programs do before they name
it in a manifest, must not touch the file of others: ours sets the time of the link (the reference sets the file's,
after which the file is hashed once more to tell an old file with a new time from a new file). Where a system allows
no symbolic links (Windows without developer mode) a hard link on the same drive stands in; the record tells.

What the file was when it was hashed is remembered beside, in Puna's own state: `links.json`, by digest. Without a
record, its presence and its size are still checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from server.errors import LinkedFileLost, LinkRefused, StoreError
from server.store import digests
from server.store.files import make_folder, store_errors, sync_folder, write_atomically

_log = logging.getLogger(__name__)

PIECE_BYTES = 1024 * 1024
LinkState = Literal["sound", "unchecked", "changed", "gone"]


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file when it was hashed. `path` is the name that its owner knows, `target` the real file behind it."""

    digest: str
    path: str
    target: str
    size: int
    modified_ns: int
    inode: int
    is_hard: bool = False


class LinkedPart(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a model that belongs to another program. "unchecked" is of the same size but not the same time as
    when it was imported; it is hashed before it runs. `note` is a sentence for the user, "" where all is well."""

    path: str
    state: LinkState
    note: str = ""


class Links:
    """The records, in the file `path` or in memory alone. Safe to use from any thread."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._records: dict[str, LinkRecord] = {}
        self._read_from: tuple[int, int, int] | None = None
        self._hashed: dict[str, tuple[int, int, bool]] = {}  # digest to time, inode and whether it was right
        self._lock = threading.RLock()
        self._hashing = threading.Lock()

    def __repr__(self) -> str:
        return f"<links, {len(self._load())} recorded>"

    # ---- making and removing ---------------------------------------------------------------------------------------

    def make(self, blob: Path, record: LinkRecord) -> None:
        """Put the link in the place of `blob`, over one that leads nowhere. Raises LinkRefused, StoreError."""
        temporary = blob.parent / f"sha256-{secrets.randbelow(10**19)}"
        with store_errors("link the file into the model folder"):
            make_folder(blob.parent)
            is_hard = _link(Path(record.target), temporary)
            self._put(msgspec.structs.replace(record, is_hard=is_hard))
            try:
                os.replace(temporary, blob)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(blob.parent)

    def forget(self, digest: str) -> None:
        """Raises StoreError."""
        with self._lock:
            if digest in self._load():
                self._write({key: record for key, record in self._records.items() if key != digest})

    # ---- looking ---------------------------------------------------------------------------------------------------

    def record_of_file(self, path: Path, status: os.stat_result) -> LinkRecord | None:
        """The record of a file that is as it was when it was hashed."""
        target = str(path)
        for record in self._load().values():
            if record.target == target and _is_same(record, status):
                return record
        return None

    def made(self, blob: Path) -> bool:
        """Whether this link is one of ours: recorded, and leading where the record says."""
        record = self._record(blob)
        return record is not None and _target(blob) == record.target

    def look(self, blob: Path, size: int, model: str) -> LinkedPart | None:
        """How the file behind a blob is, which should be of `size` bytes; None for a blob that is a file of ours."""
        record = self._record(blob)
        if not blob.is_symlink() and not (record and record.is_hard):
            return None
        shown = record.path if record else _target(blob)
        try:
            status = blob.stat()
        except FileNotFoundError:
            return LinkedPart(path=shown, state="gone", note=_gone(shown, model))
        except OSError as error:
            return LinkedPart(path=shown, state="gone", note=_unreadable(shown, model, error))
        if status.st_size != size or self._was_wrong(record, status):
            return LinkedPart(path=shown, state="changed", note=_changed(shown, model))
        if record is None or _is_same(record, status):
            return LinkedPart(path=shown, state="sound")
        return LinkedPart(path=shown, state="unchecked", note=_unchecked(shown, model))

    def check(self, blob: Path, size: int, model: str) -> None:
        """Hash the file where its time is not the one it had. Raises LinkedFileLost with a sentence for the user."""
        part = self.look(blob, size, model)
        if part is not None and part.state == "unchecked":
            with self._hashing:  # who comes second finds it done; who only looks need not wait for it
                part = self.look(blob, size, model)
                if part is not None and part.state == "unchecked":
                    self._check_again(blob)
                    part = self.look(blob, size, model)
        if part is not None and part.state != "sound":
            raise LinkedFileLost(part.note)

    def _check_again(self, blob: Path) -> None:
        record = self._record(blob)
        if record is None:
            return
        with store_errors("read the model file"):
            found, status = hash_file(blob)
        self._hashed[record.digest] = (status.st_mtime_ns, status.st_ino, found == record.digest)
        if found == record.digest:
            self._put(msgspec.structs.replace(record, modified_ns=status.st_mtime_ns, inode=status.st_ino))

    def _was_wrong(self, record: LinkRecord | None, status: os.stat_result) -> bool:
        known = self._hashed.get(record.digest) if record else None
        return known == (status.st_mtime_ns, status.st_ino, False)

    def _record(self, blob: Path) -> LinkRecord | None:
        return self._load().get(digests.normal(blob.name)) if digests.is_digest(blob.name) else None

    # ---- the file of the records -----------------------------------------------------------------------------------

    def _put(self, record: LinkRecord) -> None:
        with self._lock:
            self._write({**self._load(), record.digest: record})

    def _load(self) -> dict[str, LinkRecord]:
        """Another server of the same user may have written since."""
        if self._path is None:
            return self._records
        with self._lock:
            try:
                status = self._path.stat()
                found = (status.st_mtime_ns, status.st_ino, status.st_size)
                if found != self._read_from:
                    self._records = msgspec.json.decode(self._path.read_bytes(), type=dict[str, LinkRecord])
                    self._read_from = found
            except FileNotFoundError:
                self._records = {}
            except (OSError, msgspec.MsgspecError) as error:
                _log.warning("the records of linked files cannot be read: %s", error)
            return self._records

    def _write(self, records: dict[str, LinkRecord]) -> None:
        if self._path is not None:
            with store_errors("remember the linked files"):
                write_atomically(self._path, msgspec.json.encode(records), self._path.parent)
        self._records = records


def hash_file(path: Path, report: Callable[[int], None] = lambda _read: None) -> tuple[str, os.stat_result]:
    """The digest and the status of a file, read once. `report` gets the bytes read so far. Raises OSError, and
    StoreError for a file that was written meanwhile."""
    digest, read = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            read += len(piece)
            report(read)
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or read != after.st_size:
        raise StoreError(f"{path} was written while it was read; try again when that has ended")
    return f"sha256:{digest.hexdigest()}", after


def _link(target: Path, path: Path) -> bool:
    """True for a hard link. Raises LinkRefused."""
    try:
        os.symlink(target, path)
        return False
    except (OSError, NotImplementedError) as error:
        _log.info("no symbolic link to %s: %s", target, error)
    try:
        os.link(target, path)
        return True
    except OSError as error:
        raise LinkRefused(
            f"{target} cannot be linked into the model folder, because its disk or this system allows no links; make "
            "the model with `puna create`, which copies the file",
            log=f"no link to {target}: {error}",
        ) from error


def _is_same(record: LinkRecord, status: os.stat_result) -> bool:
    return (record.size, record.modified_ns, record.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)


def _target(blob: Path) -> str:
    with contextlib.suppress(OSError):
        return os.path.join(blob.parent, os.readlink(blob))
    return str(blob)


def _gone(path: str, model: str) -> str:
    return (
        f"The file {path} of model {model} is gone: it was imported in its place and has been moved or deleted since, "
        f"or its drive is not attached. Put it back, or remove the model with `puna rm {model}`."
    )


def _unreadable(path: str, model: str, error: OSError) -> str:
    return (
        f"The file {path} of model {model} cannot be read ({error.strerror}): it was imported in its place. Allow the "
        f"server to read it, or remove the model with `puna rm {model}`."
    )


def _changed(path: str, model: str) -> str:
    return (
        f"The file {path} of model {model} has changed since it was imported. Use it as it is now with "
        f"`puna import {path}`, or put the old file back."
    )


def _unchecked(path: str, model: str) -> str:
    return (
        f"The file {path} of model {model} has another time than when it was imported; it is checked when it runs next."
    )
