"""What answers of the OpenAI routes have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from server.api.wire_errors import openai_error
from server.api.wire_runs import Piece, Totals
from server.api.wire_sse import DONE, data_frame
from server.errors import PunaError
from server.messages.chat import Chunk, Reading, TokenLogprob, TopLogprob

FINGERPRINT = "fp_puna"


def now() -> int:
    return int(time.time())


def usage_object(totals: Totals) -> dict[str, Any]:
    return {
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.answer_tokens,
        "total_tokens": totals.prompt_tokens + totals.answer_tokens,
        "prompt_tokens_details": {"cached_tokens": totals.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": totals.thinking_tokens},
    }


def timings_object(totals: Totals) -> dict[str, Any]:
    """llama.cpp's own figures: tokens taken from the cache (`cache_n`), read (`prompt_n`) and written (`predicted_n`),
    with milliseconds and rates."""
    read = totals.prompt_tokens - totals.cached_tokens
    return {
        "cache_n": totals.cached_tokens,
        **_pace("prompt", read, totals.prompt_ns),
        **_pace("predicted", totals.answer_tokens, totals.answer_ns),
    }


def _pace(name: str, tokens: int, nanoseconds: int) -> dict[str, Any]:
    milliseconds = nanoseconds / 1e6
    return {
        f"{name}_n": tokens,
        f"{name}_ms": milliseconds,
        f"{name}_per_token_ms": milliseconds / tokens if tokens else 0.0,
        f"{name}_per_second": tokens / milliseconds * 1000 if milliseconds else 0.0,
    }


class Meter:
    """The figures of one choice while it is written."""

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._started_ns = clock()
        self._answered_ns = 0
        self._prompt = Totals()

    def timings(self, piece: Piece) -> dict[str, Any]:
        """Up to this piece; those of the last one are what the engine measured."""
        now, chunk = self._clock(), piece.chunk
        totals = Totals()
        if chunk.usage is not None:
            totals.add(Piece(0, chunk))
            return timings_object(totals)
        if not self._answered_ns:
            self._answered_ns = now
            self._prompt.prompt_tokens, self._prompt.cached_tokens = chunk.prompt_tokens, chunk.cached_tokens
            self._prompt.prompt_ns = now - self._started_ns
        self._prompt.answer_tokens = chunk.eval_tokens
        self._prompt.answer_ns = now - self._answered_ns
        return timings_object(self._prompt)


def _token(entry: TokenLogprob | TopLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": entry.logprob, "bytes": entry.bytes or None}


def logprob_entries(entries: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    return [{**_token(entry), "top_logprobs": [_token(other) for other in entry.top]} for entry in entries]


def logprobs_member(entries: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The member of a choice; nothing where no probabilities were asked for."""
    listed = logprob_entries(entries)
    return {"logprobs": {"content": listed, "refusal": None}} if listed else {}


def progress_member(reading: Reading) -> dict[str, Any]:
    """How far a prompt has been read, in llama.cpp's own form."""
    told = {
        "total": reading.prompt_tokens,
        "cache": reading.cached_tokens,
        "processed": reading.read_tokens,
        "time_ms": reading.elapsed_ns / 1e6,
    }
    return {"prompt_progress": told}


def is_plain(chunk: Chunk) -> bool:
    """Whether there is a text and nothing else to tell."""
    rest = chunk.thinking or chunk.tool_calls or chunk.logprobs or chunk.tokens or chunk.done or chunk.reading
    return bool(chunk.text) and not rest


def by_choice(pieces: Iterable[Piece], count: int) -> list[Chunk]:
    """Each choice as one chunk: its last one, with everything that was said before."""
    said: list[list[Chunk]] = [[] for _ in range(count)]
    for piece in pieces:
        said[piece.choice].append(piece.chunk)
    return [_merged(chunks) for chunks in said]


def _merged(chunks: list[Chunk]) -> Chunk:
    return msgspec.structs.replace(
        chunks[-1],
        text="".join(chunk.text for chunk in chunks),
        thinking="".join(chunk.thinking for chunk in chunks),
        tool_calls=tuple(call for chunk in chunks for call in chunk.tool_calls),
        logprobs=tuple(entry for chunk in chunks for entry in chunk.logprobs),
        tokens=tuple(token for chunk in chunks for token in chunk.tokens),
    )


def late_error(error: PunaError) -> bytes:
    """The end of a stream of chunks that fails."""
    return data_frame({"error": openai_error(error)}) + DONE
