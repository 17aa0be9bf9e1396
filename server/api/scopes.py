"""Which scope an API key needs, route by route: the one table.

A word for all methods of a path, or one for each. What is under `/v1` is listed with it; a path that is missing here
needs `admin`, until somebody has thought about it.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope as Connection

from server.errors import ScopeTooLow
from server.secrets import Key, Scope, includes

ADMITTED_KEY = "puna.api_key"  # in the scope of a request that came with a key: what is known of it

_TABLE: dict[str, Scope | dict[str, Scope]] = {
    "/": "use",
    "/api/version": "use",
    "/api/generate": "use",
    "/api/chat": "use",
    "/api/embed": "use",
    "/api/embeddings": "use",
    "/api/tokenize": "use",
    "/api/detokenize": "use",
    "/api/tags": "use",
    "/api/ps": "use",
    "/api/show": "use",
    "/api/create": "manage",
    "/api/copy": "manage",
    "/api/delete": "manage",
    "/api/pull": "manage",
    "/api/push": "manage",
    "/api/blobs/{digest}": "manage",
    "/api/status": "use",
    "/api/me": "use",
    "/api/signout": "admin",
    "/api/user/keys/{key}": "admin",
    "/api/experimental/web_search": "use",
    "/api/experimental/web_fetch": "use",
    "/api/experimental/model-recommendations": "use",
    "/openapi.json": "use",
    "/puna/v1/blobs": "manage",
    "/puna/v1/status": "use",
    "/puna/v1/events": "use",
    "/puna/v1/import": "manage",
    "/puna/v1/models/folder": "manage",
    "/puna/v1/models/move": "manage",
    "/puna/v1/fit": "use",
    "/puna/v1/downloads": "manage",
    "/puna/v1/downloads/limits": "manage",
    "/puna/v1/downloads/{digest}": "manage",
    "/puna/v1/downloads/{digest}/cancel": "manage",
    "/puna/v1/keys": "admin",
    "/puna/v1/keys/{name:path}": "admin",
    "/v1": "use",
    "/v1/{rest:path}": "use",  # what it leads to asks for its own
    "/v1/chat/completions": "use",
    "/v1/chat/completions/input_tokens": "use",
    "/v1/completions": "use",
    "/v1/embeddings": "use",
    "/v1/audio/transcriptions": "use",
    "/v1/audio/translations": "use",
    "/v1/models": "use",
    "/v1/models/{name:path}": {"GET": "use", "DELETE": "manage"},
    "/v1/responses": "use",
    "/v1/responses/input_tokens": "use",
    "/v1/responses/{id}": "use",
    "/v1/responses/{id}/input_items": "use",
    "/v1/health": "use",
    "/v1/tokenize": "use",
    "/v1/detokenize": "use",
    "/v1/apply-template": "use",
    "/v1/completion": "use",
    "/v1/infill": "use",
    "/v1/fim/completions": "use",
    "/v1/props": "use",
    "/v1/metrics": "use",
    "/v1/slots": "use",
    "/v1/rerank": "use",
    "/v1/reranking": "use",
    "/v1/messages": "use",
    "/v1/messages/count_tokens": "use",
}


def scope_of(path: str, method: str) -> Scope | None:
    """What a key must have for a route of the table; None where nobody has said."""
    found = _TABLE.get(path)
    return found.get(method) if isinstance(found, Mapping) else found


def check_scope(connection: Connection, path: str) -> None:
    """`path` is the route's. Raises ScopeTooLow; a request without a key has been let in without one."""
    key: Key | None = connection.get(ADMITTED_KEY)
    if key is None:
        return
    needed = scope_of(path, connection["method"]) or "admin"
    if not includes(key.scope, needed):
        raise ScopeTooLow(
            f'The API key "{key.name}" has the scope "{key.scope}", and this needs "{needed}". '
            f"Use another key, or make one with `puna keys add NAME --scope {needed}` on the server's machine."
        )
