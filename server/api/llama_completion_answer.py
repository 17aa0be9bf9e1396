"""Answers of `/completion` and `/infill`: chunks to the objects of llama.cpp's server, and to its stream."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

import msgspec

from server.api.openai_answer import Meter, by_choice, logprob_entries, progress_member
from server.api.wire_errors import openai_error
from server.api.wire_runs import Piece, framed
from server.api.wire_sse import data_frame
from server.errors import PunaError
from server.messages.chat import Chunk, GenerationRequest, Usage

ANY_SLOT = -1  # an answer has no slot of its own that a client could ask for


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request for each answer, with the text of its prompt. `settings`: the options of all of them."""

    requests: tuple[GenerationRequest, ...]
    prompts: tuple[str, ...]
    settings: dict[str, Any]
    with_timings: bool = False


def completion_objects(asked: Asked, pieces: Iterable[Piece]) -> Any:
    """One object, or a list of them where there were several prompts or choices."""
    chunks = by_choice(pieces, len(asked.requests))
    told = [
        {**last_object(asked, Piece(index, chunk), Meter(), chunk.text), **_text(chunk), **_probabilities(asked, chunk)}
        for index, chunk in enumerate(chunks)
    ]
    return told[0] if len(told) == 1 else told


def last_object(asked: Asked, piece: Piece, meter: Meter, said: str) -> dict[str, Any]:
    """What is known at the end of an answer whose text is `said`."""
    index, chunk, _ = piece
    usage = chunk.usage or Usage()
    return {
        "index": index,
        "content": "",
        "tokens": [],
        "id_slot": ANY_SLOT,
        "stop": True,
        "model": asked.requests[index].model,
        "tokens_predicted": usage.eval_tokens,
        "tokens_evaluated": usage.prompt_tokens,
        "generation_settings": asked.settings,
        "prompt": asked.prompts[index],
        "has_new_line": "\n" in said,
        "truncated": chunk.cut_tokens > 0,
        "stop_type": _stop_type(chunk),
        "stopping_word": chunk.stop_text,
        "tokens_cached": usage.cached_tokens,
        "timings": meter.timings(piece),
    }


def _text(chunk: Chunk) -> dict[str, Any]:
    return {"content": chunk.text, "tokens": list(chunk.tokens)}


def _stop_type(chunk: Chunk) -> str:
    if chunk.stop_text:
        return "word"
    return {"length": "limit", "stop": "eos"}.get(chunk.reason or "", "none")


def _probabilities(asked: Asked, chunk: Chunk) -> dict[str, Any]:
    entries = logprob_entries(chunk.logprobs)
    if asked.requests[0].after_sampling:
        entries = [
            {**_with_prob(entry), "top_probs": [_with_prob(other) for other in entry["top_logprobs"]]}
            for entry in entries
        ]
    if len(entries) == len(chunk.tokens):
        entries = [{"id": token, **entry} for token, entry in zip(chunk.tokens, entries, strict=True)]
    return {"completion_probabilities": entries} if entries else {}


def _with_prob(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a token was drawn with is told as a probability, under the names that llama.cpp's server has for it."""
    kept = {key: value for key, value in entry.items() if key not in ("logprob", "top_logprobs")}
    return {**kept, "prob": math.exp(entry["logprob"])}


class _Written:
    """One answer so far."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.text = ""
        self.prompt_tokens = 0


class CompletionStream:
    """Writes the stream of one request; the frame that says `stop` is the last of its answer."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._written: dict[int, _Written] = {}

    def frames(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
        return framed(pieces, self.feed)

    def feed(self, piece: Piece) -> bytes:
        index, chunk, _ = piece
        written = self._written.setdefault(index, _Written())
        written.text += chunk.text
        written.prompt_tokens = chunk.prompt_tokens or written.prompt_tokens
        if chunk.done:
            last = last_object(self._asked, piece, written.meter, written.text)
            return (self._frame(piece, written) if chunk.text else b"") + data_frame(last)
        return self._frame(piece, written)

    def _frame(self, piece: Piece, written: _Written) -> bytes:
        index, chunk, _ = piece
        told: dict[str, Any] = {"index": index, **_text(chunk), "stop": False, "id_slot": ANY_SLOT}
        told |= {"tokens_predicted": chunk.eval_tokens, "tokens_evaluated": written.prompt_tokens}
        if chunk.reading is not None:
            return data_frame({**told, **progress_member(chunk.reading)})
        if self._asked.with_timings:
            told["timings"] = written.meter.timings(piece)
        return data_frame({**told, **_probabilities(self._asked, chunk)})

    def late_error(self, error: PunaError) -> bytes:
        return data_frame({"error": openai_error(error)})
