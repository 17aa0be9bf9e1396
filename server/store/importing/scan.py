"""Looking through files and folders for GGUF files. Nothing but their headers is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from server.errors import InvalidGguf, PunaError
from server.store.foreign import foreign_reason
from server.store.gguf import GgufHeader, read_header
from server.store.gguf_shape import check_loadable
from server.store.importing.names import Origin, origin_of
from server.store.importing.places import Source

MAX_FILES = 20_000
MAX_DEPTH = 16


class FoundFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it was found. `real` is behind all links. `header` None comes with a `reason`."""

    path: Path
    real: Path
    origin: Origin
    size: int = 0
    identity: tuple[int, int] = (0, 0)
    header: GgufHeader | None = None
    reason: str = ""


def find_files(paths: Sequence[Path], without: Path, source: Source | None = None) -> list[FoundFile]:
    """All GGUF files in folders, and files that were named, each real file once. What lies in the folder `without` is
    passed over: those are installed. `source` says whose folders they are. A path that is not there is a finding
    with a reason."""
    found: list[FoundFile] = []
    seen: set[tuple[int, int]] = set()
    own = Path(os.path.realpath(without))
    for root in paths:
        repositories = _repositories(root)
        for path in _files(root):
            file = _look(path, origin_of(path, root, repositories, source))
            if file.identity in seen or file.real.is_relative_to(own):
                continue
            if file.identity != (0, 0):
                seen.add(file.identity)
            found.append(file)
            if len(found) >= MAX_FILES:
                return found
    return found


def _files(root: Path) -> Iterator[Path]:
    """In the order of their names, so that two scans say the same. Links to folders are followed, but never twice."""
    if not root.is_dir():
        yield root
        return
    visited: set[tuple[int, int]] = set()
    for folder, names, files in os.walk(root, followlinks=True):
        status = os.stat(folder)
        is_deep = len(Path(folder).relative_to(root).parts) >= MAX_DEPTH
        if (status.st_dev, status.st_ino) in visited or is_deep:
            names.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        names.sort()
        for name in sorted(files):
            if name.lower().endswith(".gguf"):
                yield Path(folder) / name


def _look(path: Path, origin: Origin) -> FoundFile:
    real = Path(os.path.realpath(path))
    try:
        status = real.stat()
    except FileNotFoundError:
        return FoundFile(path=path, real=real, origin=origin, reason="there is no such file")
    except OSError as error:
        return FoundFile(path=path, real=real, origin=origin, reason=f"it cannot be read: {error.strerror}")
    header, reason = _header(real) if stat.S_ISREG(status.st_mode) else (None, "it is not a file")
    return FoundFile(
        path=path,
        real=real,
        origin=origin,
        size=status.st_size,
        identity=(status.st_dev, status.st_ino),
        header=header,
        reason=reason,
    )


def _header(path: Path) -> tuple[GgufHeader | None, str]:
    try:
        header = read_header(path)
        if header.kind == "model":
            if not header.number("split.count") or header.number("split.no") == 0:
                check_loadable(header)
            if reason := foreign_reason(header):
                return header, reason
    except InvalidGguf as error:
        return None, f"it is broken or incomplete: {error}"
    except PunaError as error:
        return None, str(error)
    except OSError as error:
        return None, f"it cannot be read: {error.strerror}"
    return header, ""


def _repositories(folder: Path) -> list[tuple[str, str]]:
    """llama.cpp keeps a list `manifest=<publisher>=<repository>=<tag>.json` beside what it has downloaded. The longest
    come first, as one name may begin with another."""
    try:
        names = [path.name for path in folder.glob("manifest=*.json")]
    except OSError:
        return []
    parts = [name.removesuffix(".json").split("=") for name in names]
    found = {(each[1], each[2]) for each in parts if len(each) == 4}
    return sorted(found, key=lambda pair: (-len(pair[1]), pair))
