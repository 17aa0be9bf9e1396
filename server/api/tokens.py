"""`/api/tokenize` and `/api/detokenize`: text to a model's tokens and back. The reference has no such routes; names and
errors are like those of its others."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.reading import reads
from server.api.requests import DetokenizeRequest, TokenizeRequest
from server.api.responses import json_answer
from server.api.services import services_of
from server.api.streaming import while_connected
from server.inference import Tokenizer


@reads(TokenizeRequest)
async def tokenize(request: Request, asked: TokenizeRequest) -> ASGIApp:
    tokenizer = _tokenizer(request)
    found = await while_connected(
        request.scope,
        request.receive,
        lambda: tokenizer.tokenize(
            asked.model,
            asked.text or asked.content,
            add_special=asked.add_special,
            with_pieces=asked.with_pieces,
            options=asked.options,
            keep_alive_seconds=asked.keep_alive,
        ),
    )
    pieces = {"pieces": [text_or_bytes(piece) for piece in found.result.pieces]} if asked.with_pieces else {}
    return json_answer(
        {
            "model": asked.model,
            "tokens": found.result.tokens,
            **pieces,
            "total_duration": found.total_ns,
            "load_duration": found.load_ns,
        }
    )


@reads(DetokenizeRequest)
async def detokenize(request: Request, asked: DetokenizeRequest) -> ASGIApp:
    tokenizer = _tokenizer(request)
    found = await while_connected(
        request.scope,
        request.receive,
        lambda: tokenizer.detokenize(
            asked.model, asked.tokens, options=asked.options, keep_alive_seconds=asked.keep_alive
        ),
    )
    return json_answer(
        {
            "model": asked.model,
            "text": found.result,
            "total_duration": found.total_ns,
            "load_duration": found.load_ns,
        }
    )


def _tokenizer(request: Request) -> Tokenizer:
    services = services_of(request)
    return Tokenizer(services.catalog, services.scheduler)


def text_or_bytes(piece: bytes) -> str | list[int]:
    """A piece that is no whole text, such as half of a character, as the list of its bytes."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
