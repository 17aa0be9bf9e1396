"""Numbers, durations, times and tables as the command line prints them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

GAP = "    "
_SIZE_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB"))
HOUR, DAY = 3600, 86400
FAR_AHEAD = timedelta(days=20 * 365)


def size(byte_count: int) -> str:
    """Decimal: `4.7 GB`, `42 GB`, `999 B`."""
    for factor, unit in _SIZE_UNITS:
        if byte_count >= factor:
            value = byte_count / factor
            if value >= 10:
                return f"{int(value)} {unit}"
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
    return f"{byte_count} B"


def count(number: int) -> str:
    """`7B`, `1.5B`, `12.34M`, `5K`, `12`."""
    for factor, unit, digits in ((10**9, "B", 1), (10**6, "M", 2)):
        if number >= factor:
            value = number / factor
            return f"{value:.0f}{unit}" if value == int(value) else f"{value:.{digits}f}{unit}"
    return f"{number / 1000:.0f}K" if number >= 1000 else str(number)


def duration(seconds: float) -> str:
    """`Less than a second`, `About a minute`, `4 minutes`, `3 weeks`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if whole < HOUR:
        return "About a minute" if whole < 120 else f"{whole // 60} minutes"
    hours = int(seconds / HOUR + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, hours_each, unit in (
        (48, 1, "hours"),
        (24 * 14, 24, "days"),
        (24 * 60, 24 * 7, "weeks"),
        (24 * 730, 24 * 30, "months"),
    ):
        if hours < limit:
            return f"{hours // hours_each} {unit}"
    return f"{int(seconds / DAY) // 365} years"


def moment(text: str, now: datetime, *, never: str = "Never") -> str:
    """A time of the API relative to `now` (which knows its zone): `3 weeks ago`, `4 minutes from now`, `Forever`."""
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return never
    if then.tzinfo is None or then.year <= 1:
        return never
    ahead = then - now
    if ahead > FAR_AHEAD:
        return "Forever"
    if ahead > timedelta():
        return f"{duration(ahead.total_seconds())} from now"
    return f"{duration(-ahead.total_seconds())} ago"


def is_past(text: str, now: datetime) -> bool:
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return False
    return then.tzinfo is not None and then < now


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left aligned, no borders, four blanks after every column."""
    cells = [tuple(headers), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    return "".join(
        "".join(cell.ljust(width) + GAP for cell, width in zip(row, widths, strict=True)) + "\n" for row in cells
    )


def as_json(value: Any) -> str:
    """For scripts; ends with a newline."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
