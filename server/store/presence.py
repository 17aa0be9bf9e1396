"""Telling a new model folder from one whose drive is missing.

A folder that was used before and is not there now must not be made anew: the user would find an empty list, and new
models would fill the disk under the place where the drive belongs. So every folder that has been used is remembered in
Puna's own state (`model-folders.json`), with the mount point that it was on. The cases, in the order they are tried:

1. The folder is a link that leads nowhere: missing.
2. It was on a drive of its own, and no drive is mounted there now: missing, also where an empty folder shows; but not
   where there are models: then they were brought to the disk underneath.
3. It is there: fine.
4. It was used before, and somebody chose it: missing. The default folder in the home may be made again.
5. It was never used: a new folder, made when it is needed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from server.errors import FolderMissing, StoreError
from server.store.files import store_errors, write_atomically

_log = logging.getLogger(__name__)


class UsedFolder(msgspec.Struct, frozen=True, kw_only=True):
    """`mount` is the mount point of a drive, "" for the one that the system starts from."""

    mount: str = ""


class Presence:
    """Remembers in the file `path`; without one, every folder is new. `default` is the folder that nobody chose."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        default: Path | None = None,
        is_mount: Callable[[str], bool] = os.path.ismount,
    ) -> None:
        self._path = path
        self._default = default
        self._is_mount = is_mount
        self._known: dict[str, UsedFolder] | None = None

    def __repr__(self) -> str:
        return f"<presence, {len(self._folders())} folders known>"

    def fault(self, root: Path) -> str:
        """Why the folder is missing and what to do, "" where it is there or may be made."""
        known = self._folders().get(str(root.absolute()))
        if root.is_symlink() and not root.exists():
            return f"The model folder {root} is a link to {os.readlink(root)}, which is not there. {_ADVICE}"
        if known is not None and known.mount and not self._is_mount(known.mount) and not _has_models(root):
            return f"The model folder {root} is on a drive at {known.mount}, which is not attached. {_ADVICE}"
        if known is None or root == self._default or root.is_dir():
            return ""
        return (
            f"The model folder {root} is not there any more: its drive is not attached, or it was moved or deleted. "
            f"{_ADVICE} To begin anew in the same place, make the folder yourself: mkdir {root}"
        )

    def check(self, root: Path) -> None:
        """Raises FolderMissing."""
        if fault := self.fault(root):
            raise FolderMissing(fault)

    def remember(self, root: Path) -> None:
        """That this folder is in use. Failing to is no reason not to start."""
        found = UsedFolder(mount=self._mount_of(root))
        folders = self._folders()
        if self._path is None or folders.get(str(root.absolute())) == found:
            return
        self._known = {**folders, str(root.absolute()): found}
        try:
            with store_errors("remember the model folder"):
                write_atomically(self._path, msgspec.json.encode(self._known), self._path.parent)
        except StoreError as error:
            _log.warning("%s", error.log)

    def forget(self, root: Path) -> None:
        """A folder that the models have left."""
        folders = dict(self._folders())
        if folders.pop(str(root.absolute()), None) is not None and self._path is not None:
            self._known = folders
            with store_errors("remember the model folder"):
                write_atomically(self._path, msgspec.json.encode(folders), self._path.parent)

    def _folders(self) -> dict[str, UsedFolder]:
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> dict[str, UsedFolder]:
        if self._path is None:
            return {}
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, UsedFolder])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("the list of used model folders cannot be read: %s", error)
            return {}

    def _mount_of(self, root: Path) -> str:
        real = Path(os.path.realpath(root))
        found = next((str(path) for path in (real, *real.parents) if self._is_mount(str(path))), "")
        return "" if found == real.anchor else found


def _has_models(root: Path) -> bool:
    try:
        with os.scandir(root / "manifests") as entries:
            return next(entries, None) is not None
    except OSError:
        return False


_ADVICE = (
    "Attach the drive or put the folder back, and go on at once; or name another folder in models_dir of the settings "
    "(OLLAMA_MODELS)."
)
