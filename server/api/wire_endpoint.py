"""A path of the OpenAI and Anthropic dialects: every answer has the request's id, every failure the dialect's shape."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.request_dumps import dumped
from server.api.routes import Handler
from server.api.scopes import check_scope
from server.api.wire_errors import Dialect, dialect_of
from server.errors import Cancelled, InvalidRequest, PunaError

log = logging.getLogger(__name__)

_REQUEST_ID = "puna.request_id"  # in the scope of a request
_UNEXPECTED = "Something went wrong inside Puna; its log says what. Please try again."


class NoSuchMethod(InvalidRequest):
    """This method is not allowed here."""

    status = 405


def request_id_of(request: Request) -> str:
    request_id: str = request.scope[_REQUEST_ID]
    return request_id


class DialectEndpoint:
    """All methods of one path. Without a `dialect` each request says by its headers which one it speaks."""

    def __init__(self, path: str, dialect: Dialect | None, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._dialect = dialect
        self.handlers = dict(handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect = self._dialect or dialect_of(scope)
        request_id = scope[_REQUEST_ID] = dialect.new_id()

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[dialect.id_header] = request_id
            await send(message)

        try:
            await self._answer(scope, receive, send_named)
        except Cancelled:
            log.debug("the client left before %s was answered", scope["path"])
        except PunaError as error:
            _log_failure(scope, error)
            await dialect.answer(error, request_id)(scope, receive, send_named)
        except Exception:
            log.exception("an unexpected failure in %s %s", scope["method"], scope["path"])
            await dialect.answer(PunaError(_UNEXPECTED), request_id)(scope, receive, send_named)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self.handlers.get(scope["method"])
        if handler is None:
            allowed = ", ".join(sorted(self.handlers))
            raise NoSuchMethod(f"{scope['method']} is not allowed for {scope['path']}; use {allowed}.")
        check_scope(scope, self._path)
        answer: ASGIApp = await handler(Request(scope, receive))
        if scope["method"] == "HEAD" and isinstance(answer, Response):
            answer.body = b""  # its length stays in the headers
        await answer(scope, receive, send)


def dialect_route(path: str, dialect: Dialect | None = None, **handlers: Handler) -> Route:
    """A row of the table. Bodies that start inference are written down where that is asked for."""
    kept: dict[str, Any] = {method: dumped(call) if method == "POST" else call for method, call in handlers.items()}
    return Route(path, endpoint=DialectEndpoint(path, dialect, kept))


def _log_failure(scope: Scope, error: PunaError) -> None:
    level = logging.ERROR if error.status >= 500 and error.status not in (501, 503) else logging.INFO
    log.log(level, "%s %s: %s", scope["method"], scope["path"], error.log)
