"""Server-sent events: each piece of an answer is sent at once, a silent one is kept alive.

The first piece is awaited before the headers are sent, so that an early failure keeps its own status; a late one is
an event of the dialect. A client that leaves cancels the work wherever it is.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import anyio
from anyio.abc import TaskGroup
from starlette.types import Receive, Scope, Send

from server.api.responses import Answer, encode
from server.api.streaming import while_connected
from server.errors import PunaError

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"
QUIET_SECONDS = 15.0  # proxies and clients give up on a connection that says nothing for a minute or so
_HEADERS = [
    (b"content-type", CONTENT_TYPE.encode()),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy in between must not collect events
]


def data_frame(value: Any) -> bytes:
    return b"data: " + encode(value) + b"\n\n"


def event_frame(value: dict[str, Any]) -> bytes:
    """A frame named after the `type` of its object; Anthropic's library drops frames without a name."""
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + encode(value) + b"\n\n"


class EventStream:
    """An ASGI answer. `frames` gives what is sent together; it may be empty bytes.

    `refusal` makes the answer of a failure before the first piece, `late_error` the frames of one after it. `headers`
    is asked when the first piece is there.
    """

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        *,
        refusal: Callable[[PunaError], Answer],
        late_error: Callable[[PunaError], bytes],
        headers: Callable[[], Mapping[str, str]] = dict,
        ping: bytes = COMMENT,
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        self._frames = frames
        self._refusal = refusal
        self._late_error = late_error
        self._headers = headers
        self._ping = ping
        self._quiet_seconds = quiet_seconds
        self._lock = anyio.Lock(fast_acquire=True)  # otherwise every piece waits for one turn of the event loop
        self._last_sent = 0.0
        self._pings = anyio.CancelScope()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def run() -> None:
            # The group for the pings opens before the generator's first step and closes after its last one: a lease
            # inside it holds a cancel scope, and scopes must close in the order in which they were opened.
            async with anyio.create_task_group() as tasks, aclosing(self._frames) as frames:
                try:
                    first = await self._first(frames)
                except PunaError as error:
                    await self._refusal(error)(scope, receive, send)
                else:
                    await self._stream(first, frames, send, tasks)

        await while_connected(scope, receive, run)

    async def _first(self, frames: AsyncGenerator[bytes, None]) -> bytes:
        async for frame in frames:
            if frame:
                return frame
        return b""

    async def _stream(self, first: bytes, rest: AsyncGenerator[bytes, None], send: Send, tasks: TaskGroup) -> None:
        own = [(name.lower().encode(), value.encode()) for name, value in self._headers().items()]
        await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *own]})
        await self._send(send, first)
        tasks.start_soon(self._keep_alive, send)
        try:
            async for frame in rest:
                if frame:
                    await self._send(send, frame)
        except Exception as error:
            late = error if isinstance(error, PunaError) else PunaError()
            log.warning("an answer ended early: %s", late.log, exc_info=None if late is error else error)
            await self._send(send, self._late_error(late))
        finally:
            self._pings.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, body: bytes) -> None:
        async with self._lock:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            self._last_sent = anyio.current_time()

    async def _keep_alive(self, send: Send) -> None:
        with self._pings:
            while True:
                wait = self._last_sent + self._quiet_seconds - anyio.current_time()
                if wait > 0:
                    await anyio.sleep(wait)
                else:
                    await self._send(send, self._ping)
