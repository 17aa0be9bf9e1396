"""Where the events of requests wait for whoever asked."""

from __future__ import annotations

from collections import deque

import anyio

from server.errors import PunaError
from server.messages.frames import Event


class Mailbox:
    """One writer, one reader, both on the event loop. A failure comes after everything that was put before it."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._failure: PunaError | None = None
        self._news: anyio.Event | None = None

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._wake()

    def fail(self, error: PunaError) -> None:
        """The first failure counts."""
        if self._failure is None:
            self._failure = error
            self._wake()

    async def get(self) -> Event:
        """The next event. Raises the failure once nothing is left before it."""
        while not self._events:
            if self._failure is not None:
                raise self._failure
            self._news = anyio.Event()
            await self._news.wait()
        return self._events.popleft()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()


class PostOffice:
    """All mailboxes of a runner by request id. A request that has left gets nothing any more."""

    def __init__(self) -> None:
        self._boxes: dict[int, Mailbox] = {}

    def __len__(self) -> int:
        return len(self._boxes)

    def open(self, request: int) -> Mailbox:
        box = self._boxes[request] = Mailbox()
        return box

    def close(self, request: int) -> bool:
        """True if it was open: no end and no failure has come."""
        return self._boxes.pop(request, None) is not None

    def put(self, request: int, event: Event) -> None:
        if request in self._boxes:
            self._boxes[request].put(event)

    def fail(self, request: int, error: PunaError) -> None:
        """The last thing this request hears."""
        box = self._boxes.pop(request, None)
        if box is not None:
            box.fail(error)

    def fail_all(self, error: PunaError) -> None:
        for request in list(self._boxes):
            # One object each: a raised exception collects the traceback of whoever it is raised for.
            self.fail(request, type(error)(str(error), log=error.log, status=error.status))
