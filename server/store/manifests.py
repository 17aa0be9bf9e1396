"""The manifest files: `manifests/<host>/<namespace>/<model>/<tag>`, one per model name."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from server.errors import ModelNotFound, StoreError
from server.messages.names import ModelName
from server.store.files import store_errors, sync_folder, write_atomically
from server.store.manifest import MAX_MANIFEST_BYTES, Manifest, decode_manifest

_log = logging.getLogger(__name__)


class Fingerprint(msgspec.Struct, frozen=True):
    """Another fingerprint means another content."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Fingerprint:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class Manifests:
    """The folder. `temporary_folder` takes half-written files: in the folders of the tags another program would list
    them as models."""

    def __init__(self, folder: Path, temporary_folder: Path) -> None:
        self.folder = folder
        self._temporary_folder = temporary_folder

    def relocate(self, folder: Path, temporary_folder: Path) -> None:
        self.folder, self._temporary_folder = folder, temporary_folder

    def path(self, name: ModelName) -> Path:
        if not name.is_valid:
            raise ModelNotFound()
        return self.folder.joinpath(*name.path_parts)

    def names(self) -> Iterator[ModelName]:
        """Every file at the depth of a tag, in the order of its spelling; what cannot be read is passed over."""
        for host in _folders(self.folder):
            for namespace in _folders(self.folder / host):
                for model in _folders(self.folder / host / namespace):
                    for tag in _files(self.folder / host / namespace / model):
                        name = ModelName(host, namespace, model, tag)
                        if name.is_valid:
                            yield name
                        else:
                            _log.debug("not a model name: %s", name.full)

    def fingerprint(self, name: ModelName) -> Fingerprint:
        """Raises ModelNotFound, StoreError."""
        with _reading(name):
            return Fingerprint.of(self.path(name).stat())

    def read(self, name: ModelName) -> tuple[bytes, Fingerprint]:
        """The file as it is. Raises ModelNotFound, StoreError."""
        with _reading(name), self.path(name).open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
            return data, Fingerprint.of(os.fstat(file.fileno()))

    def write(self, name: ModelName, data: bytes) -> None:
        """Raises DiskFull, StoreError; the old file is whole then."""
        with store_errors("write the model's manifest"):
            write_atomically(self.path(name), data, self._temporary_folder)

    def remove(self, name: ModelName) -> None:
        """With the folders that this leaves empty. Raises ModelNotFound, StoreError."""
        path = self.path(name)
        with store_errors("delete the model's manifest"):
            try:
                path.unlink()
            except FileNotFoundError:
                raise ModelNotFound() from None
            # Before its blobs go: after a power cut there must be no manifest whose blobs are gone.
            with contextlib.suppress(FileNotFoundError):
                sync_folder(path.parent)
        for folder in list(path.parents)[:3]:
            with contextlib.suppress(OSError):  # not empty, or a link that someone made on purpose
                folder.rmdir()

    def all(self) -> Iterator[tuple[ModelName, Manifest]]:
        """Every manifest. Raises StoreError at one that cannot be read; one that vanishes meanwhile is passed over."""
        for name in self.names():
            with contextlib.suppress(ModelNotFound):
                yield name, decode_manifest(self.read(name)[0])

    def used_digests(self) -> set[str]:
        """What the readable manifests need."""
        used: set[str] = set()
        for name in self.names():
            try:
                used |= decode_manifest(self.read(name)[0]).digests
            except (ModelNotFound, StoreError) as error:
                _log.warning("the manifest of %s cannot be read and protects no blobs: %s", name, error.log)
        return used

    def resolve(self, name: ModelName) -> ModelName:
        """The stored spelling of a name.

        The exact name; else the only stored one that differs in capitals alone; else the name itself, with the stored
        spelling of host, namespace and model as far as each has just one, so that file systems that ignore case never
        get two folders.
        """
        if self.path(name).is_file():
            return name
        same = [stored for stored in self.names() if stored.same_as(name)]
        if same:
            return same[0] if len(same) == 1 else name
        parts: list[str] = []
        for part in name.path_parts[:3]:
            parts.append(_only_spelling(part, _folders(self.folder.joinpath(*parts))))
        return ModelName(parts[0], parts[1], parts[2], name.tag, scheme=name.scheme)

    def remove_empty_folders(self) -> None:
        for path, _, _ in os.walk(self.folder, topdown=False):
            if Path(path) != self.folder:
                with contextlib.suppress(OSError):
                    os.rmdir(path)


@contextlib.contextmanager
def _reading(name: ModelName) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ModelNotFound() from None
    except OSError as error:
        raise StoreError("the model's manifest could not be read", log=f"manifest of {name.full}: {error}") from error


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        _log.warning("cannot look into %s: %s", folder, error)
        return []


def _folders(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if _is(entry, "is_dir")]


def _files(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if _is(entry, "is_file")]


def _is(entry: os.DirEntry[str], question: str) -> bool:
    try:
        return bool(entry.is_dir() if question == "is_dir" else entry.is_file())
    except OSError:  # a link in a circle, a disk that left
        return False


def _only_spelling(part: str, stored: list[str]) -> str:
    same = [other for other in stored if other.lower() == part.lower()]
    return same[0] if len(same) == 1 and part not in same else part
