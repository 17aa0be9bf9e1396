"""One request and its answer, as the outermost layer sees them."""

from __future__ import annotations

import anyio
from starlette.types import Message, Receive, Scope, Send

# In the scope of a request:
STATUS_KEY = "puna.status"  # a status for the log that was never sent, such as 499
ENDED_KEY = "puna.ended"  # the answer is complete; that the server then reports the end is no client leaving

SMALL_REST_BYTES = 256 * 1024
SMALL_REST_SECONDS = 0.5


class Exchange:
    """Adds headers, remembers the status, and reads what the route left unread of the body.

    A small rest is read before the answer, so that the connection can be used again. After a large one it is closed,
    and says so. Even that must be read while the answer's end is sent: the HTTP server waits until its queue of body
    pieces has room, and that end waits for the server.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._is_read = False
        self.status = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._is_read = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._read_small_rest()
            self.status = message["status"]
            is_old_http = self._scope["http_version"].startswith("1")  # later versions know no such header
            closing = ((b"connection", b"close"),) if is_old_http and not self._is_read else ()
            message["headers"] = [*self._headers, *message.get("headers", ()), *closing]
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last:
            self._scope[ENDED_KEY] = True
        if not is_last or self._is_read:
            await self._send(message)
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_rest)
            await self._send(message)
            tasks.cancel_scope.cancel()

    async def _read_small_rest(self) -> None:
        left = SMALL_REST_BYTES
        with anyio.move_on_after(SMALL_REST_SECONDS):
            while not self._is_read and left > 0:
                left -= len((await self.receive()).get("body", b""))

    async def _read_rest(self) -> None:
        while not self._is_read:
            await self.receive()
