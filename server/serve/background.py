"""The server in a thread of its own, for the tray."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Literal

import anyio

from server.errors import PunaError
from server.serve.core import Address, serve
from server.settings import Settings

log = logging.getLogger(__name__)

State = Literal["stopped", "starting", "ready", "stopping", "failed"]
STOP_SECONDS = 20.0


class BackgroundServer:
    """One server's life. Start it once; a restart is a new BackgroundServer.

    `on_change` is called from the server's thread, each time `state` has changed.
    """

    def __init__(self, settings: Settings, on_change: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.state: State = "stopped"
        self.error: PunaError | None = None
        self.address: Address | None = None
        self._on_change = on_change
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stop: Callable[[], object] | None = None
        self._stop_wanted = False

    def __repr__(self) -> str:
        return f"<BackgroundServer {self.state} {self.address or ''}>"

    @property
    def url(self) -> str:
        """Where clients reach it; "" while it is not ready."""
        return self.address.url if self.address else ""

    def start(self) -> None:
        """Return at once; `on_change` tells when it is ready or has failed."""
        if self._thread:
            raise RuntimeError("a BackgroundServer starts once")
        self._become("starting")
        self._thread = threading.Thread(target=self._run, name="puna-server")
        self._thread.start()

    def stop(self) -> None:
        """Ask it to stop and return at once."""
        with self._lock:
            self._stop_wanted = True
            if self._stop:
                self._stop()

    def join(self, timeout: float = STOP_SECONDS) -> bool:
        """Wait until the thread has ended; False when it has not within `timeout` seconds."""
        if self._thread:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def _become(self, state: State) -> None:
        self.state = state
        self._on_change()

    def _run(self) -> None:
        try:
            anyio.run(self._main)
        except PunaError as error:
            self._fail(error)
        except BaseException as error:
            log.exception("the server ended unexpectedly")
            self._fail(PunaError(f"The server ended unexpectedly: {error}. The log has the details."))
        else:
            self.address = None
            self._become("stopped")

    def _fail(self, error: PunaError) -> None:
        log.error("%s", error.log)
        self.error = error
        self.address = None
        self._become("failed")

    async def _main(self) -> None:
        stopping = anyio.Event()
        loop = asyncio.get_running_loop()

        def begin_to_stop() -> None:
            if not stopping.is_set():
                self._become("stopping")
                stopping.set()

        with self._lock:
            self._stop = lambda: loop.call_soon_threadsafe(begin_to_stop)
            stop_wanted = self._stop_wanted
        if stop_wanted:
            begin_to_stop()
        try:
            await serve(self.settings, stopping, self._ready, with_starter=True)
        finally:
            with self._lock:
                self._stop = None

    def _ready(self, address: Address) -> None:
        self.address = address
        if not self._stop_wanted:
            self._become("ready")
