"""Who may come in where API keys are required.

The cases, in the order they are tried:

1. What tells nothing, and must answer before anybody has a key: the front page and the health of the server.
2. Keys are not required: everybody, whatever they send; except where the keys themselves are kept. Who could add one
   now could use it later.
3. The token of this run, which programs of the server's own user find in a file: they may do everything.
4. A key that is known. What it may do is checked by the route.
5. Everybody else is refused, in the words of the dialect that was spoken to.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from functools import partial

import anyio
import anyio.to_thread
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Scope

from server.api.responses import error_answer
from server.api.scopes import ADMITTED_KEY
from server.api.wire_errors import dialect_of
from server.errors import InvalidKey, KeysUnreadable, PunaError
from server.secrets import Key, Keys

PUBLIC = frozenset({"/", "/health", "/v1/health"})
KEY_ROUTES = "/puna/v1/keys"
_BEARER = b"bearer "
_THIS_USER = Key(id="", name="this user", scope="admin", created=0)


class Gate:
    """`token` is that of this run, "" for none; `compat_routes` are those that answer in a dialect of `/v1`."""

    def __init__(self, keys: Keys, *, token: str, is_required: bool, compat_routes: Iterable[Route]) -> None:
        self._keys = keys
        self._token = token.encode()
        self._is_required = is_required
        self._compat_routes = tuple(compat_routes)
        self._lookups = anyio.CapacityLimiter(1)

    async def refusal(self, scope: Scope) -> ASGIApp | None:
        """The answer to a request that may not come in; None lets it in, with its key noted in `scope`."""
        path = scope["path"]
        if path in PUBLIC and scope["method"] in ("GET", "HEAD"):
            return None
        if not self._is_required and not path.startswith(KEY_ROUTES):
            return None
        try:
            key = await self._key_of(scope)
        except KeysUnreadable as error:
            return self._refused(scope, error)
        if key is None:
            return self._refused(scope, InvalidKey())
        scope[ADMITTED_KEY] = key
        return None

    async def _key_of(self, scope: Scope) -> Key | None:
        sent = tuple(keys_sent(scope))
        if self._token and any([hmac.compare_digest(text, self._token) for text in sent]):
            return _THIS_USER
        for text in sent:
            key = await self._look_up(text)
            if key is not None:
                if not self._keys.is_noted(key):
                    await anyio.to_thread.run_sync(self._keys.note_use, key)
                return key
        return None

    async def _look_up(self, text: bytes) -> Key | None:
        if self._keys.is_current:
            return self._keys.find(text)
        # The keychain may ask its user, who may be away: meanwhile strangers with wrong keys must not take all threads.
        return await anyio.to_thread.run_sync(
            partial(self._keys.find, text), abandon_on_cancel=True, limiter=self._lookups
        )

    def _refused(self, scope: Scope, error: PunaError) -> ASGIApp:
        answer: Response
        if any(route.matches(scope)[0] is not Match.NONE for route in self._compat_routes):
            dialect = dialect_of(scope)
            request_id = dialect.new_id()
            answer = dialect.answer(error, request_id)
            answer.headers[dialect.id_header] = request_id
        else:
            answer = error_answer(error)
        if error.status == 401:
            answer.headers["www-authenticate"] = 'Bearer realm="Puna"'
        if scope["method"] == "HEAD":
            answer.body = b""
        return answer


def keys_sent(scope: Scope) -> Iterator[bytes]:
    """From `Authorization`, with or without the word Bearer, and from `x-api-key`."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name, value.strip())
    authorization = headers.get(b"authorization", b"")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        authorization = authorization[len(_BEARER) :].strip()
    for text in (authorization, headers.get(b"x-api-key", b"")):
        if text:
            yield text
