"""Prompts that do not fit (native-api 8.5, 8.6) and contexts that are full (8.7)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.prompt import fit, kept_tokens, refuse_oversized, shift_span
from server.engine.vocabulary import Tokens
from server.errors import ContextExceeded


def prompt(size: int) -> Tokens:
    return np.arange(size, dtype=np.int32)


@pytest.mark.parametrize(
    ("tokens", "context", "keep", "add_bos", "left"),
    [
        (150, 50, 4, False, 27),
        (150, 50, 20, False, 35),
        (150, 50, -1, False, 49),
        (151, 50, 4, True, 28),
        (151, 50, 20, True, 36),
        (602, 256, 4, True, 131),
        (602, 256, 100, True, 179),
        (602, 256, 0, True, 129),
        (602, 256, -1, True, 255),
        (49, 50, 4, False, 49),
        (50, 50, 4, False, 27),
    ],
)
def test_the_head_and_the_newest_tokens_stay(tokens: int, context: int, keep: int, add_bos: bool, left: int) -> None:
    fitted = fit(prompt(tokens), context, num_keep=keep, add_bos=add_bos, shift=True)
    assert len(fitted) == left
    head = min(kept_tokens(keep, tokens, add_bos), context - 1)
    if tokens >= context:
        assert list(fitted[:head]) == list(range(head))
        assert list(fitted[head:]) == list(range(tokens - (left - head), tokens))


@given(st.integers(1, 400), st.integers(4, 100), st.integers(-1, 120), st.booleans())
def test_a_fitted_prompt_always_leaves_room(tokens: int, context: int, keep: int, add_bos: bool) -> None:
    fitted = fit(prompt(tokens), context, num_keep=keep, add_bos=add_bos, shift=True)
    assert 1 <= len(fitted) <= context - 1


def test_without_shift_a_long_prompt_is_refused() -> None:
    with pytest.raises(ContextExceeded, match="the prompt is longer than the context length currently available"):
        fit(prompt(50), 50, num_keep=4, add_bos=False, shift=False)
    assert len(fit(prompt(49), 50, num_keep=4, add_bos=False, shift=False)) == 49


def test_the_engines_own_refusal_names_both_sizes() -> None:
    sentence = r"request \(602 tokens\) exceeds the available context size \(256 tokens\), try increasing it"
    with pytest.raises(ContextExceeded, match=sentence):
        refuse_oversized(prompt(602), 256)
    with pytest.raises(ContextExceeded):
        refuse_oversized(prompt(256), 256)
    assert len(refuse_oversized(prompt(255), 256)) == 255


@given(st.integers(4, 5000), st.integers(-1, 6000))
def test_a_shift_always_frees_something_and_spares_the_head(context: int, keep: int) -> None:
    used = context - 1
    start, end = shift_span(used, context, kept_tokens(keep, used, True))
    assert 0 <= start < end <= used
    assert start <= max(context - 4, 0)


def test_half_of_what_follows_the_head_goes() -> None:
    assert shift_span(255, 256, 5) == (5, 130)
