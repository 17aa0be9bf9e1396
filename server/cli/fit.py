"""Whether a model fits into memory, as a sentence and a small table."""

from __future__ import annotations

from typing import Any

from server.cli import formats

_COLUMNS = ("weights", "kv", "compute", "output", "overhead")


def fit_text(answer: dict[str, Any]) -> str:
    """From the answer of /puna/v1/fit: what it comes to, what each memory holds, and how the numbers came about."""
    pools = list(answer.get("pools") or ())
    rows = [_row(pool) for pool in pools]
    table = formats.table(("MEMORY", *(column.upper() for column in _COLUMNS), "TOTAL", "FREE"), rows)
    notes = "".join(f"Note: {note}\n" for note in answer.get("notes") or ())
    return f"{answer.get('sentence', '')}\n\n{table}\n{_arithmetic(pools)}{notes}"


def _row(pool: dict[str, Any]) -> tuple[str, ...]:
    sizes: dict[str, int] = {}
    for part in pool.get("parts") or ():
        sizes[part["kind"]] = sizes.get(part["kind"], 0) + part["bytes"]
    cells = [formats.size(sizes[column]) if sizes.get(column) else "-" for column in _COLUMNS]
    room = pool.get("room_bytes")
    return (
        str(pool.get("name", "")),
        *cells,
        formats.size(int(pool.get("total_bytes") or 0)),
        "?" if room is None else formats.size(room),
    )


def _arithmetic(pools: list[dict[str, Any]]) -> str:
    parts = [(pool["name"], part) for pool in pools for part in pool.get("parts") or () if part["bytes"]]
    return "".join(f"{name}, {part['kind']}: {part['arithmetic']} = {part['bytes']} bytes\n" for name, part in parts)
