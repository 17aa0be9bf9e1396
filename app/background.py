"""Work beside the interface: a function runs in a thread of its own, its outcome comes back in the interface's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from PySide6.QtCore import QObject, Signal

from server.errors import PunaError

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class Background(QObject):
    """Runs functions that wait for the network, a disk or another process."""

    _finished = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._is_closed = False
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        # Emitted in the worker, delivered in the thread that this object lives in.
        self._finished.connect(self._deliver)

    def run(
        self,
        work: Callable[[], Result],
        done: Callable[[Result], None],
        failed: Callable[[PunaError], None],
    ) -> None:
        """Start `work` at once; one of `done` and `failed` is called later, unless this was closed meanwhile."""
        thread = threading.Thread(target=self._work, args=(work, done, failed), name="puna-background", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def close(self, timeout: float = 0.0) -> None:
        """Deliver nothing more; wait up to `timeout` seconds for what still runs."""
        with self._lock:
            self._is_closed = True
            threads = tuple(self._threads)
        for thread in threads:
            thread.join(timeout)

    def _work(self, work: Callable[[], Any], done: Callable[[Any], None], failed: Callable[[PunaError], None]) -> None:
        outcome: Callable[[], None]
        try:
            result = work()
        except PunaError as error:
            outcome = _bound(failed, error)
        except Exception as error:
            log.exception("background work failed")
            outcome = _bound(failed, PunaError(f"Something unexpected happened: {error}. The log has the details."))
        else:
            outcome = _bound(done, result)
        with self._lock:
            self._threads.discard(threading.current_thread())
            if not self._is_closed:
                self._finished.emit(outcome)

    def _deliver(self, outcome: Callable[[], None]) -> None:
        if not self._is_closed:
            outcome()


def _bound(function: Callable[[Any], None], value: Any) -> Callable[[], None]:
    return lambda: function(value)
