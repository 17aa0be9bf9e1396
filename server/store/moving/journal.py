"""What is remembered of a move, so that it can go on after any end: `move.json` in Puna's own state."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Literal

import msgspec

from server.store.files import store_errors, sync_folder, write_atomically

_log = logging.getLogger(__name__)


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the model folder. `path` is relative to it and has slashes; `link` where it leads, if it is one.
    `is_fixed`: its name says its content."""

    path: str
    size: int
    modified_ns: int
    link: str = ""
    is_fixed: bool = False


class MoveRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A move that has begun. While "copying" the models are in `source`; "deleting" means that all of `items` are in
    `target` too and the settings name it. Between the two, the settings decide."""

    source: str
    target: str
    phase: Literal["copying", "deleting"] = "copying"
    items: tuple[Item, ...] = ()


class Journal:
    """The file `path`; without one nothing is remembered."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._kept: MoveRecord | None = None

    def read(self) -> MoveRecord | None:
        if self._path is None:
            return self._kept
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=MoveRecord)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("the journal of a move of the model folder cannot be read: %s", error)
            return None

    def write(self, record: MoveRecord) -> None:
        """Raises StoreError."""
        self._kept = record
        if self._path is not None:
            with store_errors("remember the move of the model folder"):
                write_atomically(self._path, msgspec.json.encode(record), self._path.parent)

    def clear(self) -> None:
        """Raises StoreError."""
        self._kept = None
        if self._path is not None:
            with store_errors("remember the move of the model folder"), contextlib.suppress(FileNotFoundError):
                self._path.unlink()
                sync_folder(self._path.parent)
