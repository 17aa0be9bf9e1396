"""Penalties on the row equal their definition, for any window."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.chain import SEED_MASK, seed_of
from server.engine.penalties import Penalties, window_tokens
from server.engine.sampling import Chances
from server.messages.options import SamplingOptions

VOCABULARY = 12


def naive(row: list[float], recent: list[int], options: SamplingOptions) -> list[float]:
    for token, count in Counter(recent).items():
        value = row[token]
        value = value * options.repeat_penalty if value <= 0 else value / options.repeat_penalty
        row[token] = value - count * options.frequency_penalty - options.presence_penalty
    return row


@given(
    st.lists(st.integers(0, VOCABULARY - 1), max_size=20),
    st.lists(st.integers(0, VOCABULARY - 1), max_size=20),
    st.integers(1, 8),
)
def test_penalties_equal_their_definition(prompt: list[int], answer: list[int], window: int) -> None:
    options = SamplingOptions(repeat_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.25)
    penalties = Penalties(options, window, np.array(prompt, np.int32))
    for token in answer:
        penalties.accept(token)
    row = np.linspace(-3, 3, VOCABULARY, dtype=np.float32)
    expected = naive(row.tolist(), (prompt + answer)[-window:], options)
    penalties.apply(row)
    np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "window"),
    [
        (SamplingOptions(), 0),
        (SamplingOptions(repeat_penalty=1.1), 64),
        (SamplingOptions(repeat_penalty=1.1, repeat_last_n=0), 0),
        (SamplingOptions(presence_penalty=0.1, repeat_last_n=-1), 4096),
        (SamplingOptions(frequency_penalty=0.1, repeat_last_n=9999), 4096),
    ],
)
def test_how_far_back_they_look(options: SamplingOptions, window: int) -> None:
    """runtime 73: nothing is penalized where nothing is said"""
    assert window_tokens(options, 4096) == window


def test_seeds_are_reduced_to_32_bits_and_never_become_random() -> None:
    assert seed_of(42) == 42
    assert seed_of((1 << 40) + 42) == 42
    assert seed_of(9223372036854775807) == seed_of(9223372036854775807) != SEED_MASK
    assert len({seed_of(-1) for _ in range(20)}) > 1


def test_chances_are_the_log_softmax_with_equal_ones_by_number() -> None:
    row = np.array([0.0, 2.0, 2.0, -1.0, 5.0], np.float32)
    chances = Chances(row, 3)
    row[:] = 0  # what the sampler does to the row changes nothing

    class Pieces:
        def piece(self, token: int) -> bytes:
            return b"%d" % token

    chance = chances.of(1, Pieces(), b"1")  # type: ignore[arg-type]
    total = np.log(np.exp([0.0, 2.0, 2.0, -1.0, 5.0]).sum())
    assert chance.logprob == pytest.approx(2.0 - total, abs=1e-5)
    assert [piece for piece, _ in chance.best] == [b"4", b"1", b"2"]
    assert chance.best[0][1] == pytest.approx(5.0 - total, abs=1e-5)
