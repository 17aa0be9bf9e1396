"""The outermost layer: who may come in, one log line per request, and a request body that nobody read.

The order is the reference's: Origin first, then Host, then the routes; a refusal is a 403 with an empty body. The API
key comes last, so that a page of a stranger does not even learn that there are keys.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.exchange import STATUS_KEY, Exchange
from server.api.gate import Gate
from server.api.origins import HostRules, OriginRules, is_same_origin
from server.settings import is_loopback

log = logging.getLogger(__name__)

OWN_ROUTES = "/puna/"
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS",
    "Access-Control-Allow-Headers": "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,"
    "X-Stainless-Arch,X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,"
    "X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,"
    "X-Stainless-Runtime-Version,X-Stainless-Timeout",
    "Access-Control-Max-Age": "43200",
}
# What clients of the compatible dialects send besides, and a browser asks about first.
COMPAT_HEADERS = ",X-Api-Key,Anthropic-Version,Anthropic-Beta,Anthropic-Dangerous-Direct-Browser-Access,X-Puna-Keep-Alive,X-Puna-Num-Ctx"  # noqa: E501
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_MAX_ASKED = 4096  # characters
_MAX_REFUSALS = 64
_MAX_ORIGIN_LENGTH = 256


@dataclass
class Refusal:
    """An origin that was turned away. `last_at` is a Unix time; `path` is what it asked for last."""

    origin: str
    count: int
    last_at: float
    path: str


class RefusedOrigins:
    """The origins that were refused last, newest at the end; bounded, because strangers choose the texts."""

    def __init__(self) -> None:
        self._by_origin: OrderedDict[str, Refusal] = OrderedDict()

    def add(self, origin: str, path: str, now: float) -> None:
        origin = origin[:_MAX_ORIGIN_LENGTH]
        count = self._by_origin[origin].count if origin in self._by_origin else 0
        self._by_origin[origin] = Refusal(origin, count + 1, now, path[:_MAX_ORIGIN_LENGTH])
        self._by_origin.move_to_end(origin)
        while len(self._by_origin) > _MAX_REFUSALS:
            self._by_origin.popitem(last=False)

    def entries(self) -> list[Refusal]:
        return list(self._by_origin.values())


def own_addresses() -> Iterable[str]:
    """The addresses of this machine's interfaces."""
    import psutil  # late: 20 ms of import for a question that is almost never asked

    return [entry.address for entries in psutil.net_if_addrs().values() for entry in entries]


class Access:
    """`bound_host` is where the server listens: only a loopback listener checks `Host`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: Iterable[str],
        bound_host: str,
        server_name: str,
        refused: RefusedOrigins,
        gate: Gate,
    ) -> None:
        self._app = app
        self._origins = OriginRules(origins)
        self._hosts = HostRules(socket.gethostname(), own_addresses)
        self._checks_host = is_loopback(bound_host)
        self._server_name = server_name
        self._refused = refused
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin, host = headers.get("origin"), headers.get("host", "")
        extra = self._cors_headers(scope["path"], origin, host)
        started = time.perf_counter()
        exchange = Exchange(scope, receive, send, {"Server": self._server_name, **(extra or {})})
        app = self._app if extra is not None else Response(status_code=403)
        if extra is None:
            self._note_refusal(origin or "", scope["path"])
        elif extra and scope["method"] == "OPTIONS":
            app = self._preflight(scope["path"], headers.get("access-control-request-headers", ""))
        elif self._checks_host:
            verdict = self._hosts.verdict(host)
            if verdict == "refused":
                log.warning("refused a request for the host %r: it is not a name of this machine", host[:100])
                app = Response(status_code=403)
            elif verdict == "name" and scope["method"] == "OPTIONS":
                app = _empty(204)
        if app is self._app:
            app = await self._gate.refusal(scope) or app
        try:
            await app(scope, exchange.receive, exchange.send)
        finally:
            self._write_line(scope, exchange.status, time.perf_counter() - started)

    def _cors_headers(self, path: str, origin: str | None, host: str) -> dict[str, str] | None:
        """What to add to the answer; None refuses the request."""
        if not origin:
            return {}
        if path.startswith(OWN_ROUTES):
            # These routes change settings and tell what runs here, so not even a listed origin may use them, and a
            # page is "the same origin" only under a name that nobody else can point at this machine.
            is_own = is_same_origin(origin, host) and self._hosts.verdict(host) != "refused"
            return {} if is_own else None
        if is_same_origin(origin, host):
            return {}
        if not self._origins.allows(origin):
            return None
        if self._origins.allows_all:
            return {"Access-Control-Allow-Origin": "*"}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def _note_refusal(self, origin: str, path: str) -> None:
        self._refused.add(origin, path, time.time())
        log.warning(
            "refused the origin %r for %s: it is not among the allowed ones. If you trust it, add it to OLLAMA_ORIGINS",
            origin[:_MAX_ORIGIN_LENGTH],
            path[:_MAX_ORIGIN_LENGTH],
        )

    def _preflight(self, path: str, asked: str) -> ASGIApp:
        """`asked` are the headers that a page wants to send. Clients of the compatible dialects have ever new ones, and
        an allowed page may send any."""
        response = _empty(204)
        response.headers.update(PREFLIGHT)
        if path.startswith("/v1"):
            known = PREFLIGHT["Access-Control-Allow-Headers"] + COMPAT_HEADERS
            more = [
                name
                for name in _HEADER_NAME.findall(asked[:_MAX_ASKED])
                if name.lower() not in known.lower().split(",")
            ]
            response.headers["Access-Control-Allow-Headers"] = ",".join((known, *more))
        if not self._origins.allows_all:
            response.headers.append("Vary", "Access-Control-Request-Method")
            response.headers.append("Vary", "Access-Control-Request-Headers")
        return response

    def _write_line(self, scope: Scope, status: int, seconds: float) -> None:
        client = (scope.get("client") or ("-", 0))[0]
        status = scope.get(STATUS_KEY, status)
        path = quote(scope["path"], safe="/:@")  # a line break in it would forge a line of its own
        log.info('%d | %9.3f ms | %s | %s "%s"', status, seconds * 1000, client, scope["method"], path)


def _empty(status: int) -> Response:
    return Response(status_code=status)
