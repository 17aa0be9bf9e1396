"""`/api/embed` and `/api/embeddings`: vectors of texts."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.reading import reads
from server.api.requests import EmbeddingRequest as OlderRequest
from server.api.requests import EmbedRequest
from server.api.responses import json_answer, omit_empty
from server.api.services import services_of
from server.api.streaming import while_connected
from server.errors import InvalidRequest
from server.inference.lookup import requested_name
from server.inference.vectors import full_numbers, short_numbers
from server.messages.embedding import EmbeddingRequest, EmbeddingResult


@reads(EmbedRequest)
async def embed(request: Request, asked: EmbedRequest) -> ASGIApp:
    requested_name(asked.model, "embed")
    inputs = _inputs(asked.input)
    result = await embedded(
        request,
        EmbeddingRequest(
            model=asked.model,
            inputs=inputs,
            truncate=asked.truncate,
            dimensions=asked.dimensions,
            options=asked.options,
            keep_alive_seconds=asked.keep_alive,
        ),
    )
    if not inputs:
        return json_answer({"model": asked.model, "embeddings": []})
    statistics = {
        "total_duration": result.total_ns,
        "load_duration": result.load_ns,
        "prompt_eval_count": result.prompt_tokens,
    }
    numbers = await anyio.to_thread.run_sync(short_numbers, result.vectors)
    return json_answer({"model": asked.model, "embeddings": numbers, **omit_empty(statistics)})


@reads(OlderRequest)
async def embeddings(request: Request, asked: OlderRequest) -> ASGIApp:
    result = await embedded(
        request,
        EmbeddingRequest(
            model=asked.model,
            inputs=(asked.prompt,) if asked.prompt else (),
            options=asked.options,
            keep_alive_seconds=asked.keep_alive,
            is_older_call=True,
        ),
    )
    numbers = await anyio.to_thread.run_sync(full_numbers, result.vectors)
    return json_answer({"embedding": numbers[0] if numbers else []})


async def embedded(request: Request, asked: EmbeddingRequest) -> EmbeddingResult:
    """The vectors; the work ends when the client leaves."""
    services = services_of(request)
    return await while_connected(request.scope, request.receive, lambda: services.inference.embed(asked))


def _inputs(value: Any) -> tuple[str, ...]:
    """A text or a list of texts; a wrong type is reported even for a model that nobody has. "" is no text, but in a
    list it is one."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise InvalidRequest("invalid input type")
