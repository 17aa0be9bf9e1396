"""Numbers of a header that may be missing, of another type, or one per layer."""

from __future__ import annotations

from typing import Any

MAX_SIZE = 10**6


def numbers(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, int) and not isinstance(item, bool)]


def bounded(count: int) -> int:
    """0 for what no model has."""
    return count if 0 <= count < MAX_SIZE else 0


def per_layer(value: Any, default: int, block_count: int) -> tuple[int, ...]:
    """One number per layer; a single one stands for all, and the last of a short list for the rest."""
    found = numbers(value) or [default]
    if len(found) == 1:
        return tuple(found * block_count)
    return tuple((found + found[-1:] * block_count)[:block_count])
