"""What the server is doing, heard in one thread: its stream of events, or a poll where it is an Ollama."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal

from PySide6.QtCore import QObject, Signal

from app.wire import models_of_ps, models_of_status
from server.client import Client, Stream
from server.errors import Cancelled, PunaError

log = logging.getLogger(__name__)

Kind = Literal["puna", "ollama"]
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)
WATCHED_SECONDS, UNWATCHED_SECONDS = 1.0, 10.0


class StatusFeed(QObject):
    """`heard` brings a tuple of RunningModel, `lost` a sentence each time the server does not answer."""

    heard = Signal(object)
    lost = Signal(str)
    _news = Signal(object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._listener: _Listener | None = None
        self._is_watched = False
        self._news.connect(self._tell)

    def follow(self, url: str, kind: Kind) -> None:
        """Listen to this server, and to no other."""
        self.unfollow()
        self._listener = _Listener(url, kind, self._news.emit)
        self._listener.watched(self._is_watched)
        self._listener.start()

    def unfollow(self) -> None:
        """Stop listening; nothing of the old server is told any more."""
        if self._listener:
            self._listener.stop()
            self._listener = None

    def watch(self, is_watched: bool) -> None:
        """Whether somebody looks: an Ollama is asked each second then, and only for the tooltip otherwise."""
        self._is_watched = is_watched
        if self._listener:
            self._listener.watched(is_watched)

    def _tell(self, listener: _Listener, news: object) -> None:
        if listener is not self._listener:
            return
        if isinstance(news, PunaError):
            self.lost.emit(str(news))
        else:
            self.heard.emit(news)


class _Listener(threading.Thread):
    """Hears one server until it is stopped."""

    def __init__(self, url: str, kind: Kind, tell: Callable[[object, object], None]) -> None:
        super().__init__(name="puna-status", daemon=True)
        self._client = Client(url)
        self._kind = kind
        self._tell = tell
        self._changed = threading.Condition()
        self._is_stopped = False
        self._interval_seconds = UNWATCHED_SECONDS
        self._stream: Stream | None = None

    def watched(self, is_watched: bool) -> None:
        with self._changed:
            self._interval_seconds = WATCHED_SECONDS if is_watched else UNWATCHED_SECONDS
            self._changed.notify_all()

    def stop(self) -> None:
        """Return at once; the thread leaves its stream and ends."""
        with self._changed:
            self._is_stopped = True
            stream = self._stream
            self._changed.notify_all()
        if stream:
            stream.cancel()

    def run(self) -> None:
        failures = 0
        while not self._is_stopped:
            try:
                if self._kind == "puna":
                    self._listen()
                else:
                    self._ask()
                failures = 0
            except Cancelled:
                continue
            except PunaError as error:
                self._report(error)
                self._pause(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1
        self._client.close()

    def _listen(self) -> None:
        """Until the stream ends, which a server that stops does without an error."""
        with self._client.events() as stream:
            with self._changed:
                if self._is_stopped:
                    return
                self._stream = stream
            try:
                for status in stream:
                    self._report(models_of_status(status))
            finally:
                with self._changed:
                    self._stream = None
        raise PunaError("The server has ended its stream of events.")

    def _ask(self) -> None:
        self._report(models_of_ps(self._client.ps(), time.time()))
        with self._changed:
            asked = self._interval_seconds
            self._changed.wait_for(lambda: self._is_stopped or self._interval_seconds < asked, asked)

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped, seconds)

    def _report(self, news: object) -> None:
        # Under the lock: once `stop` has returned, whoever is told may be gone.
        with self._changed:
            if not self._is_stopped:
                self._tell(self, news)
