"""What any dialect asks of an embedding model, and what it gets."""

from __future__ import annotations

from typing import Any

import msgspec


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`inputs`: texts, or token ids of the model as they are.

    `dimensions`: vectors are shortened to so many numbers where they have more; 0 and less is all of them.
    `keep_alive_seconds`: None keeps what the runner has; negative is for ever.
    `is_older_call`: the rules of `/api/embeddings`: texts are never cut, and a vector has length 1 only where its model
    was made for that.
    """

    model: str
    inputs: tuple[str | tuple[int, ...], ...] = ()
    truncate: bool = True
    dimensions: int = 0
    options: dict[str, Any] = {}
    keep_alive_seconds: float | None = None
    is_older_call: bool = False


class EmbeddingResult(msgspec.Struct, frozen=True, kw_only=True):
    """`vectors` in the order of the inputs, each as little-endian float32. Durations in nanoseconds."""

    vectors: tuple[bytes, ...] = ()
    prompt_tokens: int = 0
    total_ns: int = 0
    load_ns: int = 0
