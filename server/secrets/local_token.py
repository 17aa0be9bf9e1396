"""The server's own user needs no key: programs of the same account on the same machine find a token in a file."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from pathlib import Path

import msgspec

from server.messages.local_server import LocalServer, file_name
from server.settings.private import read_private, write_private

log = logging.getLogger(__name__)


class LocalToken:
    """`text` lets in for one run of the server that listens on `host` and `port`. While it runs, it is in a file for
    this user alone."""

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.text = f"puna-run-{secrets.token_urlsafe(32)}"
        self._server = LocalServer(host=host, port=port, pid=os.getpid(), token=self.text)
        self._path = folder / file_name(host, port)

    def write(self) -> None:
        """A folder that takes no file is no reason not to start: then even this user needs a key."""
        try:
            write_private(self._path, msgspec.json.encode(self._server))
        except OSError as error:
            log.warning("programs of this user need an API key, because their token could not be written: %s", error)

    def remove(self) -> None:
        """Unless another server has begun to listen there and written its own."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            if msgspec.json.decode(read_private(self._path), type=LocalServer) == self._server:
                self._path.unlink()
