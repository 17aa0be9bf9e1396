"""Vectors on their way out."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from server.errors import InvalidRequest
from server.inference.vectors import finished, full_numbers, short_numbers


def vector(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def test_vectors_have_length_one() -> None:
    assert finished([vector(3, 4), vector(0, -2)], 0, normalize=True) == (vector(0.6, 0.8), vector(0, -1))
    assert finished([vector(3, 4)], 0, normalize=False) == (vector(3, 4),)
    assert finished([], 0, normalize=True) == ()


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1.0, 1e8, 3e38])
def test_any_size_that_a_float_can_have(size: float) -> None:
    [made] = finished([vector(size, size)], 0, normalize=True)
    expected = np.sqrt(0.5) if size > 1e-12 else np.float32(size) / 1e-12
    assert np.frombuffer(made, "<f4") == pytest.approx([expected, expected], rel=1e-6)


def test_a_vector_of_zeros_stays_one() -> None:
    assert finished([vector(0, 0)], 0, normalize=True) == (vector(0, 0),)


@pytest.mark.parametrize(
    ("dimensions", "expected"),
    [(1, (1.0,)), (2, (0.6, 0.8))] + [(number, (0.6, 0.8, 0)) for number in (3, 0, -1, 4)],
)
def test_dimensions(dimensions: int, expected: tuple[float, ...]) -> None:
    """native-api 216, 217"""
    assert finished([vector(3, 4, 0)], dimensions, normalize=True) == (vector(*expected),)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused(wrong: float) -> None:
    """compat-api 205"""
    with pytest.raises(InvalidRequest, match=r"^embedding contains NaN or Inf values$"):
        finished([vector(1, 2), vector(1, wrong)], 0, normalize=True)


def test_numbers_print_as_short_as_float32_allows() -> None:
    numbers = [0.1, -0.018428734, 1.0, 0.0, -0.0, 1e-7, 0.0999999940395, 123456.79, 3e38, 1e-45, 16777216.0]
    assert [str(number) for number in short_numbers([vector(*numbers)])[0]] == [
        "0.1", "-0.018428734", "1.0", "0.0", "-0.0", "1e-07", "0.099999994", "123456.79", "3e+38", "1e-45",
        "16777216.0",
    ]  # fmt: skip


def test_short_numbers_are_those_of_an_exact_printer() -> None:
    random = np.random.default_rng(5)
    values = (random.standard_normal(4000) * 10.0 ** random.integers(-16, 9, 4000)).astype("<f4")
    assert short_numbers([values.tobytes()])[0] == [float(str(value)) for value in values]


def test_full_numbers_are_the_float64_of_each_float32() -> None:
    assert full_numbers([vector(0.1)]) == [[0.10000000149011612]]
    assert full_numbers([]) == short_numbers([]) == []
