"""Bodies of inference requests on disk, for someone who searches a fault (`OLLAMA_DEBUG_LOG_REQUESTS`).

Each request leaves its body and a shell script that sends it again, readable by this user alone. Headers are not kept:
they may hold keys.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import shlex
import tempfile
import time
from pathlib import Path

import anyio.to_thread
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.routes import Handler
from server.api.streaming import read_body

log = logging.getLogger(__name__)


class RequestDumps:
    """A folder of its own, made now. `url` is where the scripts send to; where keys are required, they take theirs from
    the environment."""

    def __init__(self, url: str, *, needs_key: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="puna-request-logs-"))
        self._url = url
        self._key = ' --header "Authorization: Bearer $OLLAMA_API_KEY"' if needs_key else ""
        self._numbers = itertools.count(1)
        log.info("request bodies are written to %s", self.folder)

    def keep(self, path: str, body: bytes) -> None:
        """Writes both files; a disk that takes nothing costs a log line, not the request."""
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        route = path.strip("/").replace("/", "_")
        name = f"{moment}-{next(self._numbers):06d}_{route}"
        data = self.folder / f"{name}_body.json"
        url, file = shlex.quote(f"{self._url}{path}"), shlex.quote(f"@{data}")
        script = f"#!/bin/sh\ncurl --request POST{self._key} --data-binary {file} {url}\n"
        try:
            _write(data, body)
            _write(self.folder / f"{name}_request.sh", script.encode())
        except OSError as error:
            log.warning("a request body could not be written to %s: %s", self.folder, error)


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def dumped(handler: Handler) -> Handler:
    """The handler, after the body has been written down where that is asked for."""

    @functools.wraps(handler)
    async def write_and_handle(request: Request) -> ASGIApp:
        dumps: RequestDumps | None = request.app.state.dumps
        if dumps is not None:
            await anyio.to_thread.run_sync(dumps.keep, request.url.path, await read_body(request))
        return await handler(request)

    return write_and_handle
