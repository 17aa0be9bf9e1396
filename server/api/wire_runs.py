"""From requests to the chunks of their answers: several choices one after the other, limits of nothing, counting."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple, Protocol

import msgspec

from server.errors import SearchFailed
from server.messages.chat import Chunk, GenerationRequest, Usage
from server.search import SearchResult


class Answering(Protocol):
    """The part of Inference that dialects use."""

    def answer(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]: ...


class SearchStep(msgspec.Struct, frozen=True):
    """A search of the web that the server ran for the model, the `number`th of the request from 1: at its beginning
    it has neither results nor an error, at its end one of them."""

    number: int
    query: str
    results: tuple[SearchResult, ...] | None = None
    error: SearchFailed | None = None


class Piece(NamedTuple):
    """A chunk of the choice of this number; or a step of a search, with an empty chunk."""

    choice: int
    chunk: Chunk
    search: SearchStep | None = None


async def framed(
    pieces: AsyncGenerator[Piece, None], feed: Callable[[Piece], bytes], end: Callable[[], bytes] | None = None
) -> AsyncGenerator[bytes, None]:
    """What `feed` writes of each piece, and `end` behind the last one."""
    async with aclosing(pieces):
        async for piece in pieces:
            yield feed(piece)
    if end is not None:
        yield end()


async def choices(
    inference: Answering, requests: Sequence[GenerationRequest], *, only_one_call: bool = False
) -> AsyncGenerator[Piece, None]:
    """The chunks of all choices, one choice after the other; each ends with one that has `done`."""
    for index, request in enumerate(requests):
        calls_left = 1 if only_one_call else None
        has_ended = False
        async with aclosing(_answered(inference, request)) as chunks:
            async for chunk in chunks:
                if calls_left is not None and chunk.tool_calls:
                    kept = chunk.tool_calls[:calls_left]
                    calls_left -= len(kept)
                    chunk = msgspec.structs.replace(chunk, tool_calls=kept)
                has_ended = chunk.done or chunk.rendered is not None
                yield Piece(index, chunk)
        if not has_ended:
            yield Piece(index, Chunk(done=True, reason="stop"))


async def _answered(inference: Answering, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
    """As the model answers; one that may say nothing only has its prompt counted."""
    async with aclosing(inference.answer(request)) as chunks:
        async for chunk in chunks:
            if not request.count_only:
                yield chunk
            elif chunk.done:
                usage = msgspec.structs.replace(chunk.usage or Usage(), eval_tokens=0)
                yield Chunk(done=True, reason="length", usage=usage)


async def prompt_tokens(inference: Answering, request: GenerationRequest) -> int:
    """How long the prompt of a request is. Raises what the request itself would raise."""
    counted = as_count(request)
    tokens = 0
    async with aclosing(inference.answer(counted)) as chunks:
        async for chunk in chunks:
            tokens = chunk.usage.prompt_tokens if chunk.usage else tokens
    return tokens


def as_count(request: GenerationRequest) -> GenerationRequest:
    """The request with an answer of no tokens. One token is the bound for an inference that must generate some."""
    return msgspec.structs.replace(request, count_only=True, options={**request.options, "num_predict": 1}, format="")


def repeated(request: GenerationRequest, count: int) -> list[GenerationRequest]:
    """The request for several choices; a seed that the client names is another one for each of them."""
    seed = request.options.get("seed")
    if count == 1 or seed is None:
        return [request] * count
    return [msgspec.structs.replace(request, options={**request.options, "seed": seed + at}) for at in range(count)]


class Totals:
    """The usage of all choices: a prompt counts once however many choices it has."""

    def __init__(self, choices_per_prompt: int = 1) -> None:
        self._per_prompt = choices_per_prompt
        self.prompt_tokens = self.cached_tokens = self.answer_tokens = self.thinking_tokens = 0
        self.prompt_ns = self.answer_ns = 0

    def add(self, piece: Piece) -> None:
        usage = piece.chunk.usage
        if usage is None:
            return
        if piece.choice % self._per_prompt == 0:
            self.prompt_tokens += usage.prompt_tokens
            self.cached_tokens += usage.cached_tokens
            self.prompt_ns += usage.prompt_ns
        self.answer_tokens += usage.eval_tokens
        self.answer_ns += usage.eval_ns
        self.thinking_tokens += usage.thinking_tokens
