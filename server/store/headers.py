"""Headers of model files, read once for as long as the file stays the same."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from server.errors import InvalidGguf
from server.store.gguf import GgufHeader, read_header
from server.store.manifests import Fingerprint

_log = logging.getLogger(__name__)


class Headers:
    """Safe to use from any thread. Two that ask for a new file at once may both read it."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Fingerprint, GgufHeader | None]] = {}
        self._lock = threading.Lock()
        self.reads = 0

    def get(self, path: Path) -> GgufHeader | None:
        """None where the file is missing, cannot be read, or is no sound GGUF; the log says why, once per content."""
        try:
            fingerprint = Fingerprint.of(path.stat())
        except OSError as error:
            _log.debug("no header: %s", error)
            return None
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[0] == fingerprint:
            return known[1]
        header = self._read(path)
        with self._lock:
            self._known[path] = (fingerprint, header)
        return header

    def _read(self, path: Path) -> GgufHeader | None:
        self.reads += 1
        try:
            return read_header(path)
        except (InvalidGguf, OSError) as error:
            _log.warning("the model file %s cannot be used: %s", path, error)
            return None

    def forget_except(self, paths: set[Path]) -> None:
        """Keep memory in step with the folder."""
        with self._lock:
            self._known = {path: known for path, known in self._known.items() if path in paths}
