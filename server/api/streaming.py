"""Answers that take long: watched for the client's departure, and sent piece by piece.

The first piece is awaited before the headers are sent, so that an early failure keeps its own status. A failure after
that can only be one more line. A client that leaves cancels the work wherever it is: waiting in the queue, loading,
or between two tokens.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Generic, TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.api.exchange import ENDED_KEY, STATUS_KEY
from server.api.responses import JSON, NDJSON, encode, error_answer
from server.errors import Cancelled, PunaError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def error_line(error: PunaError) -> bytes:
    return encode({"error": str(error)}) + b"\n"


async def read_body(request: Request) -> bytes:
    """The whole body. Raises Cancelled when the client leaves before its end."""
    try:
        return await request.body()
    except ClientDisconnect:
        request.scope[STATUS_KEY] = Cancelled.status
        raise Cancelled() from None


async def while_connected(scope: Scope, receive: Receive, work: Callable[[], Awaitable[Result]]) -> Result:
    """What `work` returns. Raises Cancelled as soon as the client leaves; the request's body must have been read."""
    results: list[Result] = []
    failure: Exception = Cancelled()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, scope, receive, tasks.cancel_scope)
        try:
            results.append(await work())
        except Exception as error:  # out of the task group as itself, not inside a group of exceptions
            failure = error
        tasks.cancel_scope.cancel()
    if results:
        return results[0]
    raise failure


async def _watch(scope: Scope, receive: Receive, work: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if ENDED_KEY in scope:
        return
    scope[STATUS_KEY] = Cancelled.status
    work.cancel()


async def all_of(request: Request, pieces: AsyncGenerator[Item, None]) -> list[Item]:
    """Every piece, for an answer that is sent whole."""

    async def collect() -> list[Item]:
        async with aclosing(pieces):
            return [piece async for piece in pieces]

    return await while_connected(request.scope, request.receive, collect)


class Streamed(Generic[Item]):
    """An ASGI answer made of pieces, each sent at once.

    `render` makes the bytes of a piece; a Response instead, which only the first piece may become, is the whole
    answer. `headers` are made of the first piece. A generator may hold a lease in a cancel scope, so one task runs it
    from its first step to its end, and no scope may open around a part of that: they must close in the order in which
    they were opened.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[Item, None],
        render: Callable[[Item], bytes | Response],
        *,
        content_type: str = NDJSON,
        error_type: str = JSON,
        late_error: Callable[[PunaError], bytes] = error_line,
        headers: Callable[[Item], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self._pieces = pieces
        self._render = render
        self._content_type = content_type
        self._error_type = error_type
        self._late_error = late_error
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def run() -> None:
            async with aclosing(self._pieces) as pieces:
                headers: Mapping[str, str] = {}
                try:
                    piece = await anext(pieces)
                    first, headers = self._render(piece), self._headers(piece)
                except StopAsyncIteration:
                    first = Response(status_code=200)
                except PunaError as error:
                    first = error_answer(error, self._error_type)
                if isinstance(first, Response):
                    await first(scope, receive, send)
                else:
                    await self._stream(first, pieces, send, headers)

        await while_connected(scope, receive, run)

    async def _stream(
        self, first: bytes, rest: AsyncGenerator[Item, None], send: Send, extra: Mapping[str, str]
    ) -> None:
        headers = {"content-type": self._content_type, **extra}
        fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        try:
            async for piece in rest:
                await send({"type": "http.response.body", "body": self._render(piece), "more_body": True})
        except Exception as error:
            late = error if isinstance(error, PunaError) else PunaError()
            log.warning("an answer ended early: %s", late.log, exc_info=None if late is error else error)
            await send({"type": "http.response.body", "body": self._late_error(late), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
