"""Tidying up at a start: old spellings are renamed, and what no model needs is removed after an hour's grace."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

from server.errors import StoreError
from server.store import digests
from server.store.blobs import Blobs
from server.store.links import Links
from server.store.manifests import Manifests

GRACE_SECONDS = 60 * 60

_log = logging.getLogger(__name__)
# Files while they are hashed, and what a creation leaves when it breaks off. A file of any other name is someone's own
# and stays.
_TEMPORARY = re.compile(
    r"sha256-\d{1,20}"
    r"|(COPY|Q4_K_M|Q4_K_S|Q8_0|F16|F32|BF16|split-copy|projector-metadata)\d+"
)
# A download that broke off. It stays until it is finished or the user clears it.
_PARTIAL = re.compile(r"sha256-[0-9a-f]{64}-partial(-\d+)?")


def rename_old_blobs(blobs: Blobs) -> None:
    """`sha256:…` was the name once."""
    for path in _plain_files(blobs.folder):
        if path.name.startswith("sha256:") and digests.is_digest(path.name):
            target = blobs.folder / path.name.replace(":", "-", 1)
            if not target.exists():
                with contextlib.suppress(OSError):
                    path.rename(target)


def remove_unused(blobs: Blobs, manifests: Manifests, links: Links, *, now: float | None = None) -> int:
    """The bytes that were freed. Nothing is removed while a manifest cannot be read: its blobs may be needed. Of the
    links to files of others only those are removed that an import of ours left behind, and never what they lead to."""
    try:
        used = {digest for _, manifest in manifests.all() for digest in manifest.digests}
    except StoreError as error:
        _log.warning("unused files are kept, because a manifest cannot be read: %s", error.log)
        return 0
    moment = time.time() if now is None else now
    freed = 0
    _remove_own_links(blobs, links, used, moment)
    for path in _plain_files(blobs.folder):
        if _PARTIAL.fullmatch(path.name):
            _keep(path)
            continue
        is_blob = digests.is_digest(path.name)
        is_unused = digests.normal(path.name) not in used if is_blob else bool(_TEMPORARY.fullmatch(path.name))
        if is_unused:
            freed += _remove_if_old(path, moment)
    manifests.remove_empty_folders()
    return freed


def _remove_own_links(blobs: Blobs, links: Links, used: set[str], now: float) -> None:
    """Those that no manifest came to name, because the import that made them broke off."""
    for path in _entries(blobs.folder, stat.S_ISLNK):
        is_blob = digests.is_digest(path.name)
        if links.made(path) and digests.normal(path.name) not in used if is_blob else _TEMPORARY.fullmatch(path.name):
            _remove_if_old(path, now)


def remove_old_temporaries(folder: Path, now: float) -> None:
    """What writers have left in a folder of blobs."""
    for path in _plain_files(folder):
        if _TEMPORARY.fullmatch(path.name) and "-partial" not in path.name:
            _remove_if_old(path, now)


def _keep(path: Path) -> None:
    """Ollama removes what nobody has touched for an hour when it starts."""
    with contextlib.suppress(OSError):
        os.utime(path)


def _remove_if_old(path: Path, now: float) -> int:
    try:
        status = path.lstat()
        if now - status.st_mtime < GRACE_SECONDS:
            return 0
        path.unlink()
    except OSError as error:
        _log.warning("could not remove %s: %s", path, error)
        return 0
    return status.st_size


def _plain_files(folder: Path) -> list[Path]:
    return _entries(folder, stat.S_ISREG)


def _entries(folder: Path, is_wanted: Callable[[int], bool]) -> list[Path]:
    """Those of one kind; a link is itself and not what it leads to."""
    try:
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in entries if _is(entry, is_wanted)]
    except FileNotFoundError:
        return []
    except OSError as error:
        _log.warning("cannot look into %s: %s", folder, error)
        return []


def _is(entry: os.DirEntry[str], is_wanted: Callable[[int], bool]) -> bool:
    try:
        return is_wanted(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return False
