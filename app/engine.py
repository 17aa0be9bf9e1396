"""The life of the server's thread as Qt signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from PySide6.QtCore import QObject, QTimer, Signal

from app.situation import ServerState
from server.errors import PunaError
from server.settings import Settings

STOP_MILLISECONDS = 8_000


class ServerLife(Protocol):
    """What is used of server.serve.BackgroundServer."""

    @property
    def state(self) -> ServerState: ...
    @property
    def error(self) -> PunaError | None: ...
    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def join(self, timeout: float = ...) -> bool: ...


NewServer = Callable[[Settings, Callable[[], None]], ServerLife]


class Engine(QObject):
    """Starts, stops and restarts the server; never waits for it. A restart is a new server after the old has ended."""

    changed = Signal()
    ended = Signal()  # stopped or failed, nothing runs
    _heard = Signal(object)

    def __init__(self, settings: Settings, new_server: NewServer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.settings = settings
        self.state: ServerState = "stopped"
        self.error: PunaError | None = None
        self.url = ""
        self._new_server = new_server
        self._server: ServerLife | None = None
        self._start_again = False
        self._heard.connect(self._hear)
        self._patience = QTimer(self, singleShot=True, interval=STOP_MILLISECONDS)
        self._patience.timeout.connect(self.ended)

    @property
    def is_running(self) -> bool:
        return self._server is not None

    def start(self) -> None:
        """Nothing happens when it runs already; while it stops, it starts again afterwards."""
        if self._server is not None:
            self._start_again = self._start_again or self.state == "stopping"
            return
        self.error, self.url = None, ""
        # The server reports from its own thread, perhaps after a successor has started: each report says whose it is.
        report: list[ServerLife] = []
        server = self._new_server(self.settings, lambda: self._heard.emit(report[0]) if report else None)
        report.append(server)
        self._server = server
        server.start()
        self._hear(server)

    def stop(self) -> None:
        """`ended` follows, at the latest after STOP_MILLISECONDS."""
        self._start_again = False
        if self._server is None:
            self.ended.emit()
            return
        self._stop()

    def restart(self) -> None:
        if self._server is None:
            self.start()
            return
        self._start_again = True
        self._stop()

    def end(self, timeout: float) -> bool:
        """Stop and wait: for the very end, when no event loop will run any more. False: its thread is stuck."""
        self._start_again = False
        if self._server is None:
            return True
        self._server.stop()
        return self._server.join(timeout)

    def _stop(self) -> None:
        assert self._server is not None
        self._patience.start()
        if self.state != "stopping":
            self.state = "stopping"
            self.changed.emit()
        self._server.stop()

    def _hear(self, server: ServerLife | None) -> None:
        if server is None or server is not self._server:
            return
        state = server.state
        # A stop that was asked for while it started: "ready" may come in between, and is not news any more.
        if self.state == "stopping" and state in ("starting", "ready"):
            return
        self.state, self.error = state, server.error
        self.url = server.url if state == "ready" else ""
        if state in ("stopped", "failed"):
            server.join(1.0)
            self._server = None
            self._patience.stop()
        self.changed.emit()
        if self._server is None:
            self._after_end()

    def _after_end(self) -> None:
        again, self._start_again = self._start_again, False
        if again:
            self.start()
        else:
            self.ended.emit()
