"""Who may write into the model folder: nobody while it is missing or being moved to another place."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from server.errors import FolderMoving


class Gate:
    """Open for all until it is closed; those who are inside then go on to their end.

    What somebody does inside of what he has begun, also in another thread that he waits for, counts as the same visit,
    so that a creation or a download which came in time is not stopped half-way. `check` raises a PunaError where the
    folder is not there.
    """

    def __init__(self) -> None:
        self.check: Callable[[], None] = lambda: None
        self._condition = threading.Condition()
        self._inside = 0
        self._reason = ""
        self._depth: ContextVar[int] = ContextVar("visits", default=0)

    def __repr__(self) -> str:
        return f"<gate, {'closed' if self._reason else 'open'}, {self._inside} inside>"

    def enter(self) -> None:
        """Raises FolderMoving, FolderMissing; every `enter` needs its `leave`, from whatever thread."""
        self.check()
        with self._condition:
            if self._reason and not self._depth.get():
                raise FolderMoving(self._reason)
            self._inside += 1

    def leave(self) -> None:
        with self._condition:
            self._inside -= 1
            self._condition.notify_all()

    @contextlib.contextmanager
    def visit(self) -> Iterator[None]:
        """Raises FolderMoving, FolderMissing."""
        self.enter()
        self._depth.set(self._depth.get() + 1)
        try:
            yield
        finally:
            self._depth.set(max(0, self._depth.get() - 1))
            self.leave()

    @contextlib.contextmanager
    def closed(self, reason: str) -> Iterator[None]:
        """Nobody enters, but who closed it; those who are inside may still be there."""
        with self._condition:
            self._reason = reason
        self._depth.set(self._depth.get() + 1)
        try:
            yield
        finally:
            self._depth.set(max(0, self._depth.get() - 1))
            with self._condition:
                self._reason = ""

    def wait_until_empty(self, seconds: float) -> bool:
        """False where somebody is still inside after that time."""
        with self._condition:
            return self._condition.wait_for(lambda: self._inside == 0, seconds)
