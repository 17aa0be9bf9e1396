"""Server-sent events: each piece of an answer is sent at once, a silent one is kept alive.

The first piece is awaited before the headers are sent, so that an early failure keeps its own status; one after it, or
after ten seconds of a long prompt, is an event of the dialect. A client that leaves cancels the work wherever it is.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import anyio
from starlette.types import Receive, Scope, Send

from server.api.responses import Answer, encode
from server.api.streaming import while_connected
from server.errors import PunaError

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"
QUIET_SECONDS = 15.0  # proxies and clients give up on a connection that says nothing for a minute or so
PATIENCE_SECONDS = 10.0  # how long a failure may still have a status of its own
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
        self._is_open = False
        self._pings = anyio.CancelScope()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def run() -> None:
            # The group for the pings opens before the generator's first step and closes after its last one: a lease
            # inside it holds a cancel scope, and scopes must close in the order in which they were opened.
            async with anyio.create_task_group() as tasks, aclosing(self._frames) as frames:
                tasks.start_soon(self._keep_alive, send)
                try:
                    refusal = await self._stream(frames, send)
                finally:
                    self._pings.cancel()
                if refusal is not None:
                    await refusal(scope, receive, send)
                else:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

        await while_connected(scope, receive, run)

    async def _stream(self, frames: AsyncGenerator[bytes, None], send: Send) -> Answer | None:
        """Send all but the end; or nothing, and return the answer of a failure that came first."""
        try:
            async for frame in frames:
                if frame:
                    await self._send(send, frame)
        except Exception as error:
            self._pings.cancel()
            if not self._is_open:
                if isinstance(error, PunaError):
                    return self._refusal(error)
                raise
            late = error if isinstance(error, PunaError) else PunaError()
            log.warning("an answer ended early: %s", late.log, exc_info=None if late is error else error)
            await self._send(send, self._late_error(late))
        if not self._is_open:
            await self._send(send, b"")
        return None

    async def _send(self, send: Send, body: bytes) -> None:
        async with self._lock:
            if not self._is_open:
                self._is_open = True
                own = [(name.lower().encode(), value.encode()) for name, value in self._headers().items()]
                with anyio.CancelScope(shield=True):  # a ping may be called off, but not half the headers
                    await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, *own]})
            await send({"type": "http.response.body", "body": body, "more_body": True})
            self._last_sent = anyio.current_time()

    async def _keep_alive(self, send: Send) -> None:
        patience = min(self._quiet_seconds, PATIENCE_SECONDS)
        self._last_sent = anyio.current_time() - self._quiet_seconds + patience
        with self._pings:
            while True:
                wait = self._last_sent + self._quiet_seconds - anyio.current_time()
                if wait > 0:
                    await anyio.sleep(wait)
                else:
                    await self._send(send, self._ping)
