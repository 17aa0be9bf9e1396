"""Which model a half-finished download belongs to: the files themselves only know their digest."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

from server.store import digests
from server.store.files import write_atomically

log = logging.getLogger(__name__)

MOST_NOTES = 1000


class Notes:
    """A small file of digest and model name. All functions block; one that cannot be kept is no failure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {digest: name for digest, name in found.items() if digests.is_digest(digest) and isinstance(name, str)}

    def add(self, digest: str, model: str) -> None:
        with self._lock:
            notes = self.read()
            if notes.get(digest) != model:
                notes.pop(digest, None)
                notes[digest] = model
                self._write(dict(list(notes.items())[-MOST_NOTES:]))

    def remove(self, digest: str) -> None:
        with self._lock:
            notes = self.read()
            if notes.pop(digest, None) is not None:
                self._write(notes)

    def _write(self, notes: dict[str, str]) -> None:
        try:
            write_atomically(self._path, json.dumps(notes, indent=1).encode(), self._path.parent)
        except OSError as error:
            log.warning("the notes on downloads could not be written: %s", error)
