"""Whether the models can go to a folder."""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from server.errors import DiskFull, MoveRefused
from server.store.blobs import RESERVE_BYTES
from server.store.moving.journal import Item

# What systems put into the top folder of a drive.
_OF_SYSTEMS = (
    "lost+found", ".DS_Store", ".Trash*", ".Spotlight-*", ".fseventsd", "$RECYCLE.BIN", "System Volume Information",
    "desktop.ini",
)  # fmt: skip


def check_target(source: Path, target: Path, *, is_resumed: bool) -> None:
    """Raises MoveRefused with what to do instead. `is_resumed`: an earlier move to this folder has begun."""
    if not target.is_absolute():
        raise MoveRefused(f"{target} must be an absolute path on the server's machine")
    old, new = Path(os.path.realpath(source)), Path(os.path.realpath(target))
    if old == new or (new.exists() and old.exists() and os.path.samefile(old, new)):
        raise MoveRefused(f"the models are in {target} already")
    if new.is_relative_to(old) or old.is_relative_to(new):
        raise MoveRefused(
            f"{target} and the model folder {source} lie inside one another; choose a folder outside of it"
        )
    if target.exists() and not target.is_dir():
        raise MoveRefused(f"{target} is a file; choose a folder")
    if not target.parent.is_dir():
        raise MoveRefused(f"{target.parent} does not exist; attach its drive, or make the folder first")
    if not is_resumed and (names := _foreign(target)):
        raise MoveRefused(
            f"{target} is not empty (it has {names[0]}); choose a new or an empty folder, such as {target / 'models'}. "
            "To use the models that are in it already, name it as models_dir in the settings"
        )


def _foreign(folder: Path) -> list[str]:
    if not folder.exists():
        return []
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise MoveRefused(f"{folder} cannot be read: {error.strerror}; choose another folder") from error
    return [name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in _OF_SYSTEMS)]


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def check_space(items: list[Item], target: Path, free_bytes: Callable[[Path], int] = _free_bytes) -> None:
    """Raises DiskFull where copies of `items` would not fit."""
    needed, free = sum(item.size for item in items), free_bytes(target)
    if needed + RESERVE_BYTES > free:
        raise DiskFull(
            f"the models take {needed} bytes, and the disk of {target} has {free} free; nothing was moved. Free some "
            "space there, or choose another folder"
        )
