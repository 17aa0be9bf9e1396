"""A file of this machine becomes a blob without a way over HTTP: it is read once and hashed once, or cloned.

A request that names a path could make the server read what the one who asks may not. So it must bring the digest of the
file's beginning, which only someone who can read the file knows, and whatever is wrong has one and the same answer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from server.errors import InvalidGguf, NotFound
from server.messages.files import BEGINNING_BYTES
from server.store.blobs import Blobs
from server.store.digests import is_digest
from server.store.files import clone_file, store_errors
from server.store.gguf_reader import open_regular

PIECE_BYTES = 4 * 1024 * 1024
REFUSAL = "this file cannot be taken from its place; upload it"
Tell = Callable[[int, int], None]


def take_file(blobs: Blobs, path: Path, beginning: str, tell: Tell) -> str:
    """The digest of the blob that is a copy of the file at the absolute `path`. `beginning` is the digest of its first
    BEGINNING_BYTES; `tell` gets the bytes done and their total. Raises NotFound, DiskFull, StoreError."""
    try:
        file = open_regular(path) if path.is_absolute() else None
    except (OSError, ValueError, InvalidGguf) as error:
        raise NotFound(REFUSAL, log=f"{path}: {error}") from error
    if file is None:
        raise NotFound(REFUSAL)
    with blobs.gate.visit(), file, store_errors("copy the file into the model folder"):
        if f"sha256:{hashlib.sha256(file.read(BEGINNING_BYTES)).hexdigest()}" != beginning:
            raise NotFound(REFUSAL, log=f"{path} does not begin as the request says")
        file.seek(0)
        return _taken(blobs, file, tell)


def _taken(blobs: Blobs, file: BinaryIO, tell: Tell) -> str:
    """Cases, in the order they are tried: the disk clones files; a blob of the same size may be this very file, which
    hashing tells before a byte is written; anything else is hashed while it is copied."""
    size = os.fstat(file.fileno()).st_size
    with blobs.workplace() as copy:
        with copy.open("r+b", buffering=0) as target:
            if clone_file(file, target):
                digest = _digest(target, None, size, tell)
            elif known := _known(blobs, file, size, tell):
                return known
            else:
                blobs.check_space(size)
                digest = _digest(file, target, size, tell)
        blobs.adopt(copy, digest)
    return digest


def _known(blobs: Blobs, file: BinaryIO, size: int, tell: Tell) -> str:
    """The digest of the file where it is a blob already, else "" with the file at its beginning."""
    if not _has_size(blobs.folder, size):
        return ""
    digest = _digest(file, None, size, tell)
    file.seek(0)
    return digest if blobs.touch(digest) else ""


def _has_size(folder: Path, size: int) -> bool:
    with os.scandir(folder) as entries:
        return any(is_digest(entry.name) and _size_of(entry) == size for entry in entries)


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:  # gone meanwhile
        return -1


def _digest(source: BinaryIO, target: BinaryIO | None, size: int, tell: Tell) -> str:
    """Read to the end, into `target` where there is one: a piece is hashed while the next one is read and written."""
    sha256 = hashlib.sha256()
    done = 0
    with ThreadPoolExecutor(1) as hashing:
        pending: Future[None] | None = None
        while piece := source.read(PIECE_BYTES):
            if pending is not None:
                pending.result()
            pending = hashing.submit(sha256.update, piece)
            if target is not None:
                _write(target, piece)
            done += len(piece)
            tell(done, size)
    return f"sha256:{sha256.hexdigest()}"


def _write(target: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[target.write(view) :]
