"""cli 3: values in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from server.cli import formats
from server.cli.running import processor

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("byte_count", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1 KB"), (1500, "1.5 KB"), (9_960_000_000, "10.0 GB"),
        (42_900_000_000, "42 GB"), (4_700_000_000, "4.7 GB"), (4661224676, "4.7 GB"), (42520413916, "42 GB"),
        (3 * 10**12, "3 TB"), (1_200_000, "1.2 MB"),
    ],
)  # fmt: skip
def test_sizes(byte_count: int, text: str) -> None:
    """cli 13"""
    assert formats.size(byte_count) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (12, "12"),
        (5000, "5K"),
        (137_000_000, "137M"),
        (12_340_000, "12.34M"),
        (7 * 10**9, "7B"),
        (1_500_000_000, "1.5B"),
    ],
)
def test_counts(number: int, text: str) -> None:
    assert formats.count(number) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(minutes=90), "2 hours ago"), (timedelta(seconds=61), "About a minute ago"),
        (timedelta(days=13), "13 days ago"), (timedelta(days=20), "2 weeks ago"),
        (timedelta(seconds=1), "1 second ago"),
        (timedelta(milliseconds=1), "Less than a second ago"), (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(minutes=59), "59 minutes ago"), (timedelta(minutes=60), "About an hour ago"),
        (timedelta(hours=47), "47 hours ago"), (timedelta(days=59), "8 weeks ago"),
        (timedelta(days=61), "2 months ago"),
        (timedelta(days=729), "24 months ago"), (timedelta(days=800), "2 years ago"),
        (timedelta(minutes=-4, seconds=-30), "4 minutes from now"), (timedelta(days=-292 * 365), "Forever"),
    ],
)  # fmt: skip
def test_times(ago: timedelta, text: str) -> None:
    """cli 14, 23"""
    assert formats.moment((NOW - ago).isoformat(), NOW) == text


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "", "yesterday"])
def test_no_time(text: str) -> None:
    assert formats.moment(text, NOW) == "Never"


def test_times_of_go_have_nine_digits_and_offsets() -> None:
    assert formats.moment("2026-08-01T13:59:00.123456789+02:00", NOW) == "59 seconds ago"


def test_a_table_has_four_blanks_after_every_column() -> None:
    """cli 15, 16"""
    assert formats.table(("NAME", "ID"), [("llama3.2", "0123")]) == "NAME        ID      \nllama3.2    0123    \n"
    assert formats.table(("NAME", "ID"), []) == "NAME    ID    \n"


@pytest.mark.parametrize(
    ("size", "gpu", "text"),
    [(100, 0, "100% CPU"), (100, 100, "100% GPU"), (100, 52, "48%/52% CPU/GPU"), (0, 0, "Unknown"), (1, 2, "Unknown")],
)
def test_processor(size: int, gpu: int, text: str) -> None:
    """cli 21, 22; runtime 78, 79, 80"""
    assert processor(size, gpu) == text
