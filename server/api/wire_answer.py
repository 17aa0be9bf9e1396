"""An answer of the OpenAI or Anthropic dialect from its pieces: whole, or as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Protocol

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.native import left_out
from server.api.responses import BARE_JSON, json_answer
from server.api.services import Services
from server.api.streaming import all_of, while_connected
from server.api.wire_endpoint import request_id_of
from server.api.wire_errors import Dialect
from server.api.wire_runs import Piece, prompt_tokens
from server.api.wire_sse import COMMENT, EventStream
from server.errors import ModelNotFound, PunaError, Unsupported
from server.messages.chat import GenerationRequest
from server.messages.media import kind_of_sound


class StreamWriter(Protocol):
    """Turns pieces into frames. An object with a memory: frames depend on what was sent before."""

    def frames(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]: ...

    def late_error(self, error: PunaError) -> bytes: ...


class _LeftOut:
    """The headers that say what of a conversation the model did not see, as far as that is known by now."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    async def over(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
        async with aclosing(pieces):
            async for piece in pieces:
                if piece.chunk.dropped_messages or piece.chunk.cut_tokens:
                    self.headers |= left_out(piece.chunk)
                yield piece


async def answered(
    request: Request,
    dialect: Dialect,
    pieces: AsyncGenerator[Piece, None],
    *,
    whole: Callable[[list[Piece]], Any],
    stream: StreamWriter | None,
    ping: bytes = COMMENT,
) -> ASGIApp:
    """`stream` writes a streamed answer; without it, `whole` makes what is sent."""
    if stream is not None:
        return streamed(request, dialect, pieces, stream, ping=ping)
    left = _LeftOut()
    answer = json_answer(whole(await all_of(request, left.over(pieces))), content_type=BARE_JSON)
    answer.headers.update(left.headers)
    return answer


def streamed(
    request: Request,
    dialect: Dialect,
    pieces: AsyncGenerator[Piece, None],
    stream: StreamWriter,
    *,
    ping: bytes = COMMENT,
) -> ASGIApp:
    left = _LeftOut()
    request_id = request_id_of(request)
    return EventStream(
        stream.frames(left.over(pieces)),
        refusal=lambda error: dialect.answer(error, request_id),
        late_error=stream.late_error,
        headers=lambda: left.headers,
        ping=ping,
    )


async def check_images(services: Services, generation: GenerationRequest) -> None:
    """Raises Unsupported for pictures that the model cannot see, and sounds that it cannot hear. A model that is not
    there is told later."""
    sent = {
        "audio" if kind_of_sound(image) else "images" for message in generation.messages for image in message.images
    }
    if not sent:
        return
    try:
        entry = await services.catalog.find(generation.model, "chat")
    except ModelNotFound:
        return
    for kind, ability in (("images", "vision"), ("audio", "audio")):
        if kind in sent and ability not in entry.capabilities:
            raise Unsupported(f'model "{generation.model}" does not support {kind}')


async def counted(request: Request, services: Services, generation: GenerationRequest) -> int:
    """How many tokens the prompt has, unless the client leaves before that is known."""
    await check_images(services, generation)

    async def count() -> int:
        return await prompt_tokens(services.inference, generation)

    return await while_connected(request.scope, request.receive, count)
