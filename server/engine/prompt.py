"""What happens to a prompt that does not fit. Plain numbers in, plain numbers out."""

from __future__ import annotations

import numpy as np

from server.engine.vocabulary import Tokens
from server.errors import ContextExceeded

KEEP_MARGIN = 4  # a shift always leaves this much to move


def kept_tokens(num_keep: int, prompt: int, add_bos: bool) -> int:
    """How many tokens at the head survive: `num_keep`, one more for a BOS, the whole prompt if negative."""
    return prompt if num_keep < 0 else num_keep + int(add_bos)


def fit(tokens: Tokens, context: int, *, num_keep: int, add_bos: bool, shift: bool) -> Tokens:
    """The prompt, or its head and its newest tokens when it has more than `context` - 1.

    Raises ContextExceeded where nothing may be dropped.
    """
    if len(tokens) <= context - 1:
        return tokens
    if not shift:
        raise ContextExceeded()
    head = min(kept_tokens(num_keep, len(tokens), add_bos), context - 1)
    limit = context - max((context - head) // 2, 1)
    tail = limit - head
    return np.concatenate((tokens[:head], tokens[len(tokens) - tail :]))


def refuse_oversized(tokens: Tokens, context: int) -> Tokens:
    """The prompt. Raises ContextExceeded with the sentence that clients search for when it fills the context."""
    if len(tokens) >= context:
        raise ContextExceeded(
            f"request ({len(tokens)} tokens) exceeds the available context size ({context} tokens), try increasing it"
        )
    return tokens


def shift_span(used: int, context: int, keep: int) -> tuple[int, int]:
    """Where a full context is cut: positions [start, end) go, half of what follows the kept head."""
    start = max(min(keep, context - KEEP_MARGIN), 0)
    start = min(start, used - 1)
    return start, start + max((used - start) // 2, 1)
