"""Masks of one bit per token, written into logits."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from server.engine.mask import TokenMask


def _write(mask: TokenMask, allowed: list[int]) -> None:
    bits = bytearray(mask.bytes)
    for token in allowed:
        bits[token // 8] |= 1 << token % 8
    ctypes.memmove(mask.address, bytes(bits), mask.bytes)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1000])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_all_but_the_allowed_tokens_are_forbidden(size: int, share: float) -> None:
    random = np.random.default_rng(size)
    mask = TokenMask(size)
    for _ in range(5):
        allowed = sorted({0, *np.flatnonzero(random.random(size) < share).tolist()})
        row = random.standard_normal(size).astype(np.float32)
        before = row.copy()
        for _ in range(2):  # the second time from what is kept
            _write(mask, allowed)
            assert mask.read() == len(allowed)
            mask.apply(row)
        assert np.flatnonzero(np.isfinite(row)).tolist() == allowed
        assert (row[allowed] == before[allowed]).all()
        assert mask.first() == allowed[0]


def test_bits_beyond_the_vocabulary_mean_nothing() -> None:
    mask = TokenMask(33)
    ctypes.memset(mask.address, 0xFF, mask.bytes)
    assert mask.read() == 33


def test_a_mask_may_allow_nothing() -> None:
    mask = TokenMask(64)
    _write(mask, [5])
    assert mask.read() == 1
    _write(mask, [])
    assert mask.read() == 0
