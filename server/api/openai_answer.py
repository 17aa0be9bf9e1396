"""What answers of the OpenAI routes have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import msgspec

from server.api.wire_errors import openai_error
from server.api.wire_runs import Piece, Totals
from server.api.wire_sse import DONE, data_frame
from server.errors import PunaError
from server.messages.chat import Chunk, TokenLogprob, TopLogprob

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


def _token(entry: TokenLogprob | TopLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": entry.logprob, "bytes": entry.bytes or None}


def logprob_entries(entries: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    return [{**_token(entry), "top_logprobs": [_token(other) for other in entry.top]} for entry in entries]


def logprobs_member(entries: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The member of a choice; nothing where no probabilities were asked for."""
    listed = logprob_entries(entries)
    return {"logprobs": {"content": listed, "refusal": None}} if listed else {}


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
    )


def late_error(error: PunaError) -> bytes:
    """The end of a stream of chunks that fails."""
    return data_frame({"error": openai_error(error)}) + DONE
