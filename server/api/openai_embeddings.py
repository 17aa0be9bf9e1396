"""`/v1/embeddings`: OpenAI's request, and its object of vectors."""

from __future__ import annotations

import base64
from typing import Any

import anyio.to_thread
import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.embed import embedded
from server.api.openai_schema import EMBEDDINGS
from server.api.responses import BARE_JSON, json_answer
from server.api.wire_fields import Fields
from server.api.wire_options import read_model, read_running
from server.api.wire_reading import takes
from server.errors import Unsupported
from server.inference.vectors import short_numbers
from server.messages.embedding import EmbeddingRequest, EmbeddingResult

Inputs = tuple[str | tuple[int, ...], ...]


class Asked(msgspec.Struct, frozen=True):
    embedding: EmbeddingRequest
    as_base64: bool = False


def read_embeddings(fields: Fields, headers: Headers) -> Asked:
    inputs = _inputs(fields)
    encoding = fields.text("encoding_format") or "float"
    if encoding.lower() not in ("float", "base64"):
        why = f"Invalid value for 'encoding_format' = {encoding}. Supported values: ['float', 'base64']."
        raise fields.refuse("encoding_format", why)
    running = read_running(fields, headers, {})
    embedding = EmbeddingRequest(
        model=read_model(fields),
        inputs=inputs,
        truncate=running.truncate is not False,
        dimensions=max(fields.integer("dimensions") or 0, 0),
        options=running.options,
        keep_alive_seconds=running.keep_alive_seconds,
    )
    return Asked(embedding, as_base64=encoding.lower() == "base64")


def _inputs(fields: Fields) -> Inputs:
    """Texts, which may be empty, or token ids of the model itself: one list of them, or several."""
    value = fields.get("input")
    if value is None or value == []:
        raise fields.refuse("input", "invalid input", "missing_required_parameter")
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        if all(isinstance(item, str) for item in value):
            return tuple(value)
        if all(_is_token(item) for item in value):
            return (tuple(value),)
        if all(isinstance(item, list) and item and all(map(_is_token, item)) for item in value):
            return tuple(tuple(item) for item in value)
    raise fields.refuse("input", "invalid input type", "invalid_type")


def _is_token(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**31


def embeddings_object(asked: Asked, result: EmbeddingResult) -> dict[str, Any]:
    """OpenAI's library asks for base64 on its own: the little-endian float32 numbers as they come from the engine."""
    encoded: list[Any] = [base64.b64encode(vector).decode() for vector in result.vectors] if asked.as_base64 else []
    data = [
        {"object": "embedding", "embedding": vector, "index": index}
        for index, vector in enumerate(encoded if asked.as_base64 else short_numbers(result.vectors))
    ]
    usage = {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens}
    return {"object": "list", "data": data, "model": asked.embedding.model, "usage": usage}


@takes("Embeddings", EMBEDDINGS)
async def embeddings(request: Request, fields: Fields) -> ASGIApp:
    asked = read_embeddings(fields, request.headers)
    try:
        result = await embedded(request, asked.embedding)
    except Unsupported as error:
        # The native API answers 501, which OpenAI's library would send again.
        raise Unsupported(f'"{asked.embedding.model}" does not support embeddings', log=error.log) from error
    value = await anyio.to_thread.run_sync(embeddings_object, asked, result)
    return json_answer(value, content_type=BARE_JSON)
