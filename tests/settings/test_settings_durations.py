"""Durations of Go, which OLLAMA_KEEP_ALIVE, keep_alive and the timings of the command line share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.messages.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("-0", 0), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("+2s", 2), ("-1s", -1), (".5s", 0.5),
     ("1.s", 1), ("3ns", 3e-9), ("4us", 4e-6), ("4µs", 4e-6), ("4μs", 4e-6), ("250ms", 0.25)],
)  # fmt: skip
def test_reading(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("abc", 'time: invalid duration "abc"'),
        ("10", 'time: missing unit in duration "10"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("-", 'time: invalid duration "-"'),
        ("1h-5m", 'time: unknown unit "h-" in duration "1h-5m"'),
        (".s", 'time: invalid duration ".s"'),
    ],
)
def test_refusing(text: str, message: str) -> None:
    """native-api 3.1"""
    with pytest.raises(ValueError, match="time: ") as raised:
        parse_duration(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0s"), (1, "1ns"), (1500, "1.5µs"), (342_000_000, "342ms"), (342_500_000, "342.5ms"), (4_660_000_000, "4.66s"),
     (62_500_000_000, "1m2.5s"), (3_600_000_000_000, "1h0m0s"), (-1_000_000_000, "-1s")],
)  # fmt: skip
def test_printing(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


@given(st.integers(min_value=-(2**50), max_value=2**50))
def test_what_is_printed_can_be_read(nanoseconds: int) -> None:
    assert parse_duration(format_duration(nanoseconds)) == pytest.approx(nanoseconds / 1e9)
