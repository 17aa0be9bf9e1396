"""Answers of `/v1/messages`: chunks to Anthropic's object, and to its stream."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Literal

import msgspec

from server.api.anthropic_request import Asked
from server.api.openai_answer import is_plain
from server.api.responses import encode
from server.api.web_search import WEB_SEARCH, NothingToSearchFor, TooManySearches
from server.api.wire_errors import anthropic_error
from server.api.wire_runs import Piece, SearchStep, framed
from server.api.wire_sse import event_frame
from server.api.wire_tools import arguments_text, new_id
from server.errors import PunaError, SearchFailed
from server.messages.chat import Chunk, ToolCall, Usage
from server.search import SearchResult

PING = event_frame({"type": "ping"})


class Part(msgspec.Struct, frozen=True):
    """A piece of one block: a beginning of thoughts or text, more of it, or a whole call."""

    kind: Literal["thinking", "text", "tool_use"]
    text: str = ""
    call: ToolCall | None = None


def parts_of(chunk: Chunk) -> Iterable[Part]:
    if chunk.thinking:
        yield Part("thinking", chunk.thinking)
    if chunk.text:
        yield Part("text", chunk.text)
    for call in chunk.tool_calls:
        yield Part("tool_use", call=call)


def new_signature() -> str:
    """Clients send it back with the thought. Nobody reads it, but it must not be empty."""
    return secrets.token_urlsafe(24)


def usage_object(usage: Usage, searches: int = 0) -> dict[str, Any]:
    """Input from the prefix cache is counted apart; searches are told where there were any."""
    told: dict[str, Any] = {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "output_tokens": usage.eval_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
    }
    if searches:
        told["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    return told


def search_block(message_id: str, step: SearchStep) -> dict[str, Any]:
    """What a step of a search is to the client: the use of a server's tool, or its result."""
    number = "" if step.number == 1 else f"_{step.number}"
    identifier = f"srvtoolu_{message_id.removeprefix('msg_')}{number}"
    if step.error is not None:
        content: Any = {"type": "web_search_tool_result_error", "error_code": _error_code(step.error)}
    elif step.results is not None:
        content = [_search_result(result) for result in step.results]
    else:
        asked = {"query": step.query}
        return {"type": "server_tool_use", "id": identifier, "name": WEB_SEARCH, "input": asked}
    return {"type": "web_search_tool_result", "tool_use_id": identifier, "content": content}


def _error_code(error: SearchFailed) -> str:
    if isinstance(error, NothingToSearchFor):
        return "invalid_request"
    return "max_uses_exceeded" if isinstance(error, TooManySearches) else "unavailable"


def _search_result(result: SearchResult) -> dict[str, Any]:
    """The library's type has the last two, of which the first is for the server that the client sends it back to; it
    is not secret here."""
    told = {"type": "web_search_result", "url": result.url, "title": result.title}
    return {**told, "encrypted_content": result.content, "page_age": None}


def stop_of(asked: Asked, last: Chunk, has_calls: bool) -> dict[str, str | None]:
    reason = "end_turn"
    sequence = last.stop_text if last.stop_text in asked.stop_sequences else None
    if last.reason == "length":
        reason, sequence = "max_tokens", None
    elif has_calls:
        reason, sequence = "tool_use", None
    elif sequence is not None:
        reason = "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": sequence}


def _head(model: str) -> dict[str, Any]:
    return {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": model}


def message_object(asked: Asked, pieces: list[Piece]) -> dict[str, Any]:
    """The whole answer, its blocks in the order in which they were generated."""
    head = _head(asked.generation.model)
    blocks: list[dict[str, Any]] = []
    searches = 0
    for piece in pieces:
        for part in parts_of(piece.chunk):
            if part.call is not None:
                blocks.append({**_opened(part), "input": part.call.function.arguments})
            elif blocks and blocks[-1]["type"] == part.kind:
                blocks[-1][part.kind] += part.text
            else:
                blocks.append({**_opened(part), part.kind: part.text})
        if piece.search is not None:
            blocks.append(search_block(head["id"], piece.search))
            searches += piece.search.results is not None
    for block in blocks:
        if block["type"] == "thinking":
            block["signature"] = new_signature()
    last = pieces[-1].chunk
    stop = stop_of(asked, last, any(block["type"] == "tool_use" for block in blocks))
    usage = usage_object(last.usage or Usage(), searches)
    return {**head, "content": blocks, **stop, "usage": usage}


def _opened(part: Part) -> dict[str, Any]:
    """A block at its beginning; clients need the empty members to add to."""
    if part.call is not None:
        return {"type": "tool_use", "id": new_id("toolu_"), "name": part.call.function.name, "input": {}}
    return {"type": part.kind, part.kind: ""} | ({"signature": ""} if part.kind == "thinking" else {})


class MessageStream:
    """Writes the stream of one message. One block is open at a time, its index one more than the last one's."""

    def __init__(self, asked: Asked, request_id: str) -> None:
        self._asked = asked
        self._request_id = request_id
        self._open: str | None = None
        self._index = -1
        self._front = b""
        self._head = _head(asked.generation.model)
        self._searches = 0
        self._has_begun = self._has_calls = False

    def frames(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
        return framed(pieces, self._take)

    def _take(self, piece: Piece) -> bytes:
        said = self.feed(piece.chunk)
        return said if piece.search is None else said + self._search(piece.search)

    def feed(self, chunk: Chunk) -> bytes:
        if self._open == "text" and is_plain(chunk):
            return self._front + encode(chunk.text) + b"}}\n\n"
        frames = [] if self._has_begun else self._begin(chunk)
        for part in parts_of(chunk):
            frames += self._part(part)
        if chunk.done:
            frames += self._end(chunk)
        return b"".join(frames)

    def late_error(self, error: PunaError) -> bytes:
        return event_frame({"type": "error", "error": anthropic_error(error), "request_id": self._request_id})

    def _begin(self, chunk: Chunk) -> list[bytes]:
        """What is known of the prompt by now; the last event has all counts."""
        self._has_begun = True
        known = chunk.usage or Usage(prompt_tokens=chunk.prompt_tokens, cached_tokens=chunk.cached_tokens)
        usage = usage_object(known) | {"output_tokens": 0}
        stop = {"stop_reason": None, "stop_sequence": None}
        message = {**self._head, "content": [], **stop, "usage": usage}
        return [event_frame({"type": "message_start", "message": message}), PING]

    def _part(self, part: Part) -> list[bytes]:
        frames: list[bytes] = []
        if part.call is not None or self._open != part.kind:
            frames += self._close()
            self._index += 1
            self._open = part.kind
            block = {"type": "content_block_start", "index": self._index, "content_block": _opened(part)}
            frames.append(event_frame(block))
            if part.kind == "text":  # what stands before the text in every frame of this block
                self._front = self._delta("text_delta", "text", "").removesuffix(b'""}}\n\n')
        if part.call is not None:
            self._has_calls = True
            return [*frames, self._delta("input_json_delta", "partial_json", arguments_text(part.call)), *self._close()]
        return [*frames, self._delta(f"{part.kind}_delta", part.kind, part.text)]

    def _search(self, step: SearchStep) -> bytes:
        """Blocks of searches come in one piece."""
        frames = self._close()
        self._index += 1
        self._searches += step.results is not None
        block = search_block(self._head["id"], step)
        frames.append(event_frame({"type": "content_block_start", "index": self._index, "content_block": block}))
        return b"".join([*frames, event_frame({"type": "content_block_stop", "index": self._index})])

    def _delta(self, kind: str, member: str, text: str) -> bytes:
        delta = {"type": kind, member: text}
        return event_frame({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> list[bytes]:
        if self._open is None:
            return []
        signed = [self._delta("signature_delta", "signature", new_signature())] if self._open == "thinking" else []
        self._open = None
        return [*signed, event_frame({"type": "content_block_stop", "index": self._index})]

    def _end(self, chunk: Chunk) -> list[bytes]:
        delta = stop_of(self._asked, chunk, self._has_calls)
        usage = usage_object(chunk.usage or Usage(), self._searches)
        ended = {"type": "message_delta", "delta": delta, "usage": usage}
        return [*self._close(), event_frame(ended), event_frame({"type": "message_stop"})]
