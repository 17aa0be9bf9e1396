"""Answers of `/v1/completions`: chunks to OpenAI's object of text, and to its stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec

from server.api.openai_answer import (
    FINGERPRINT,
    Meter,
    by_choice,
    late_error,
    now,
    progress_member,
    timings_object,
    usage_object,
)
from server.api.wire_runs import Piece, Totals, framed
from server.api.wire_sse import DONE, data_frame
from server.api.wire_tools import new_id
from server.errors import PunaError
from server.messages.chat import Chunk, GenerationRequest, TokenLogprob


class Asked(msgspec.Struct, frozen=True):
    """One request for each choice, and how the answer shall look. `fronts`: what each choice repeats first."""

    requests: tuple[GenerationRequest, ...]
    choices_per_prompt: int = 1
    stream: bool = False
    with_usage: bool = False
    echo: bool = False
    hides_reasoning: bool = False
    fronts: tuple[str, ...] = ()
    with_timings: bool = False


def completion_object(asked: Asked, pieces: list[Piece]) -> dict[str, Any]:
    totals = Totals(asked.choices_per_prompt)
    for piece in pieces:
        totals.add(piece)
    listed = []
    for index, chunk in enumerate(by_choice(pieces, len(asked.requests))):
        front = asked.fronts[index] if asked.fronts else ""
        listed.append(_choice(asked, index, chunk, front, len(front)))
    return {**_head(asked), "choices": listed, "usage": usage_object(totals), "timings": timings_object(totals)}


def _head(asked: Asked) -> dict[str, Any]:
    return {
        "id": new_id("cmpl-"),
        "object": "text_completion",
        "created": now(),
        "model": asked.requests[0].model,
        "system_fingerprint": FINGERPRINT,
    }


def _choice(asked: Asked, index: int, chunk: Chunk, front: str, offset: int) -> dict[str, Any]:
    """`front` is the echoed prompt, `offset` where the text of this chunk begins in the whole one."""
    choice: dict[str, Any] = {"text": front + chunk.text, "index": index, "finish_reason": _reason(chunk)}
    if chunk.thinking and not asked.hides_reasoning:
        choice["reasoning_content"] = chunk.thinking
    if chunk.tokens:
        choice["tokens"] = chunk.tokens
    if asked.requests[index].logprobs:
        choice["logprobs"] = _logprobs(chunk.logprobs, offset, asked.requests[index].top_logprobs)
    return choice


def _reason(chunk: Chunk) -> str | None:
    if not chunk.done:
        return None
    return "length" if chunk.reason == "length" else "stop"


def _logprobs(entries: Sequence[TokenLogprob], offset: int, alternatives: int) -> dict[str, Any]:
    """The form from before chats: one list for each thing to know of a token."""
    offsets = []
    for entry in entries:
        offsets.append(offset)
        offset += len(entry.token)
    top = [{other.token: other.logprob for other in entry.top} for entry in entries] if alternatives else None
    return {
        "tokens": [entry.token for entry in entries],
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": top,
        "text_offset": offsets,
    }


class CompletionStream:
    """Writes the stream of one request. The chunk with a finish reason is the last of its choice."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._head = _head(asked)
        self._totals = Totals(asked.choices_per_prompt)
        self._lengths: dict[int, int] = {}
        self._meters = {0: Meter()}

    def frames(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
        return framed(pieces, self.feed, self.end)

    def feed(self, piece: Piece) -> bytes:
        index, chunk, _ = piece
        if chunk.reading is not None:
            silent = {"text": "", "index": index, "finish_reason": None}
            return data_frame({**self._head, "choices": [silent], **progress_member(chunk.reading)})
        self._totals.add(piece)
        front = self._asked.fronts[index] if self._asked.fronts and index not in self._lengths else ""
        offset = self._lengths.get(index, 0) + len(front)
        self._lengths[index] = offset + len(chunk.text)
        shows = (
            chunk.text
            or front
            or chunk.logprobs
            or chunk.tokens
            or (chunk.thinking and not self._asked.hides_reasoning)
        )
        if not shows and not chunk.done:
            return b""
        timings: dict[str, Any] = {}
        if self._asked.with_timings or chunk.usage is not None:
            timings = {"timings": self._meters.setdefault(index, Meter()).timings(piece)}
        return data_frame({**self._head, "choices": [_choice(self._asked, index, chunk, front, offset)], **timings})

    def end(self) -> bytes:
        if not self._asked.with_usage:
            return DONE
        return data_frame({**self._head, "choices": [], "usage": usage_object(self._totals)}) + DONE

    def late_error(self, error: PunaError) -> bytes:
        return late_error(error)
