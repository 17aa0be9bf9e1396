"""The paths of the OpenAI and Anthropic dialects.

Clients join addresses carelessly, so slashes too many are forgiven. Below `/v1` also what nobody serves has an answer
in the dialect's shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api import (
    anthropic_routes,
    fim_completions,
    llama_completion,
    llama_infill,
    llama_metrics,
    llama_props,
    llama_routes,
    openai_audio,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_models,
    rerank,
    responses_api_routes,
)
from server.api.wire_endpoint import DialectEndpoint, dialect_route
from server.api.wire_errors import ANTHROPIC, OPENAI
from server.errors import NotFound

_SLASHES = re.compile("//+")


_TABLE: tuple[Route, ...] = (
    dialect_route("/v1/chat/completions", OPENAI, POST=openai_chat.completions),
    dialect_route("/v1/chat/completions/input_tokens", OPENAI, POST=openai_chat.input_tokens),
    dialect_route("/v1/completions", OPENAI, POST=openai_completions.completions),
    dialect_route("/v1/embeddings", OPENAI, POST=openai_embeddings.embeddings),
    dialect_route("/v1/audio/transcriptions", OPENAI, POST=openai_audio.transcriptions),
    dialect_route("/v1/audio/translations", OPENAI, POST=openai_audio.translations),
    dialect_route("/v1/models", GET=openai_models.models, HEAD=openai_models.models),
    dialect_route("/v1/models/{name:path}", GET=openai_models.model, DELETE=openai_models.delete),
    dialect_route("/v1/responses", OPENAI, POST=responses_api_routes.create),
    dialect_route("/v1/responses/input_tokens", OPENAI, POST=responses_api_routes.input_tokens),
    dialect_route("/v1/responses/{id}", OPENAI, GET=responses_api_routes.stored, DELETE=responses_api_routes.forget),
    dialect_route("/v1/responses/{id}/input_items", OPENAI, GET=responses_api_routes.input_items),
    dialect_route("/v1/health", OPENAI, GET=llama_routes.health, HEAD=llama_routes.health),
    dialect_route("/v1/tokenize", OPENAI, POST=llama_routes.tokenize),
    dialect_route("/v1/detokenize", OPENAI, POST=llama_routes.detokenize),
    dialect_route("/v1/apply-template", OPENAI, POST=llama_routes.apply_template),
    dialect_route("/v1/completion", OPENAI, POST=llama_completion.completion),
    dialect_route("/v1/infill", OPENAI, POST=llama_infill.infill),
    dialect_route("/v1/fim/completions", OPENAI, POST=fim_completions.completions),
    dialect_route("/v1/props", OPENAI, GET=llama_props.props, HEAD=llama_props.props),
    dialect_route("/v1/metrics", OPENAI, GET=llama_metrics.metrics),
    dialect_route("/v1/slots", OPENAI, GET=llama_metrics.slots),
    dialect_route("/v1/rerank", OPENAI, POST=rerank.rerank),
    dialect_route("/v1/reranking", OPENAI, POST=rerank.rerank),
    dialect_route("/v1/messages", ANTHROPIC, POST=anthropic_routes.messages),
    dialect_route("/v1/messages/count_tokens", ANTHROPIC, POST=anthropic_routes.count_tokens),
)


async def _nothing(request: Request) -> ASGIApp:
    raise NotFound(f"There is no {request.method} {request.url.path} here; see the list of routes in Puna's README.")


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class _Cleaned:
    """Serves the path that was meant, or says that there is none."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = tuple(routes)
        self._nothing = DialectEndpoint("/v1", None, dict.fromkeys(_METHODS, _nothing))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _SLASHES.sub("/", scope["path"]).rstrip("/")
        if path != scope["path"]:
            for route in self._routes:
                match, found = route.matches({**scope, "path": path})
                if match is Match.FULL:
                    scope.update(found, path=path)  # in place: the layers around read what is noted in it
                    await route.handle(scope, receive, send)
                    return
        await self._nothing(scope, receive, send)


class Unlisted:
    """Serves what is listed under another path."""

    def __init__(self, endpoint: ASGIApp) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._endpoint(scope, receive, send)


def _without_version(route: Route) -> Route:
    """The same for clients whose address ends before `/v1`."""
    return Route(route.path.removeprefix("/v1"), endpoint=Unlisted(route.endpoint))


COMPAT_ROUTES: tuple[Route, ...] = (
    *_TABLE,
    *map(_without_version, _TABLE),
    Route("/v1", endpoint=_Cleaned(())),
    Route("/v1/{rest:path}", endpoint=_Cleaned(_TABLE)),
)
