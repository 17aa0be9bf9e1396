"""From method and path to a handler; the plain-text answers of unknown ones; redirects of stray slashes.

A handler takes a Request and returns an ASGI answer. It may raise any PunaError before it returns.
"""

from __future__ import annotations

import html
import logging
import posixpath
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.responses import Answer, error_answer
from server.api.scopes import check_scope
from server.errors import Cancelled, PunaError

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[ASGIApp]]
_METHOD_ORDER = ("HEAD", "GET", "POST", "PUT", "PATCH", "DELETE")
_SLASHES = re.compile("//+")


class Endpoint:
    """All methods of one path. `HEAD` may share the handler of `GET`: its body is then left out."""

    def __init__(self, path: str, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self.handlers = dict(handlers)
        self._allow = ", ".join(method for method in _METHOD_ORDER if method in handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self.handlers.get(scope["method"])
        if handler is None:
            await _plain(scope, "405 method not allowed", 405, allow=self._allow)(scope, receive, send)
            return
        try:
            check_scope(scope, self._path)
            answer = await handler(Request(scope, receive))
            await _without_body(scope, answer)(scope, receive, send)
        except Cancelled:
            log.debug("the client left before %s was answered", scope["path"])
        except PunaError as error:
            _log_failure(scope, error)
            await _without_body(scope, error_answer(error))(scope, receive, send)
        except Exception:
            log.exception("an unexpected failure in %s %s", scope["method"], scope["path"])
            failure = PunaError("Something went wrong inside Puna; its log says what. Please try again.")
            await error_answer(failure)(scope, receive, send)


def route(path: str, **handlers: Handler) -> Route:
    """`route("/api/tags", GET=tags, HEAD=tags)`; parameters of a path as Starlette writes them."""
    return Route(path, endpoint=Endpoint(path, handlers))


def _log_failure(scope: Scope, error: PunaError) -> None:
    is_ours = error.status >= 500 and error.status not in (501, 503)
    level = logging.ERROR if is_ours else logging.INFO
    log.log(level, "%s %s: %s", scope["method"], scope["path"], error.log)


def _without_body(scope: Scope, answer: ASGIApp) -> ASGIApp:
    if scope["method"] == "HEAD" and isinstance(answer, Response):
        answer.body = b""  # its length stays in the headers
    return answer


def _plain(scope: Scope, text: str, status: int, **headers: str) -> ASGIApp:
    return _without_body(scope, Answer(text.encode(), status, "text/plain", **headers))


class Elsewhere:
    """The answer where no route matches: a redirect to the path without stray slashes, or 404."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        clean = _clean(path)
        if clean != path:
            answer = _moved(scope, clean, 307)
        elif path.endswith("/") and self._is_known(scope, path.rstrip("/")):
            answer = _moved(scope, path.rstrip("/"), 301 if scope["method"] == "GET" else 307)
        else:
            answer = _plain(scope, "404 page not found", 404)
        await answer(scope, receive, send)

    def _is_known(self, scope: Scope, path: str) -> bool:
        candidate = {**scope, "path": path}
        return any(route.matches(candidate)[0] is Match.FULL for route in self._routes)


def _clean(path: str) -> str:
    """Without doubled slashes and without `.` and `..`; a slash at the end stays."""
    clean = posixpath.normpath(_SLASHES.sub("/", path) or "/")
    return clean if clean.endswith("/") or not path.endswith("/") else f"{clean}/"


def _moved(scope: Scope, path: str, status: int) -> ASGIApp:
    # Quoted, because a browser takes a backslash for a slash, and two of those for another host.
    location = quote(path, safe="/:@!$&'()*+,;=-._~")
    if scope["query_string"]:
        location += "?" + scope["query_string"].decode("latin-1")
    words = {301: "Moved Permanently", 307: "Temporary Redirect"}[status]
    if scope["method"] in ("GET", "HEAD"):
        page = f'<a href="{html.escape(location)}">{words}</a>.\n\n'
        return _without_body(scope, Answer(page.encode(), status, "text/html; charset=utf-8", location=location))
    return Answer(b"", status, location=location)
