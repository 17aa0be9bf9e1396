"""A model's description in sections, from the answer of /api/show."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from server.cli import formats

INDENT = "  "
CELL_WIDTH = 30
TEXT_WIDTH = 100
TEXT_LINES = 2
LIST_WIDTH = 10  # characters of a list's beginning that are shown

Row = Sequence[str]


def describe(answer: dict[str, Any], *, verbose: bool = False) -> str:
    """All sections that have rows, each followed by an empty line."""
    sections: list[tuple[str, list[Row], int]] = [
        ("Model", _model_rows(answer), CELL_WIDTH),
        ("Capabilities", [(str(name),) for name in answer.get("capabilities") or ()], CELL_WIDTH),
        ("Projector", _projector_rows(answer.get("projector_info") or {}), CELL_WIDTH),
        ("Files of other programs", _linked_rows(answer.get("linked") or ()), TEXT_WIDTH),
        ("Parameters", _parameter_rows(str(answer.get("parameters") or "")), CELL_WIDTH),
    ]
    if verbose:
        sections.append(("Metadata", _metadata_rows(answer.get("model_info") or {}), TEXT_WIDTH))
        sections.append(("Tensors", _tensor_rows(answer.get("tensors") or ()), TEXT_WIDTH))
    sections.append(("System", _beginning(str(answer.get("system") or "")), TEXT_WIDTH))
    sections.append(("License", _beginning(str(answer.get("license") or "")), TEXT_WIDTH))
    return "".join(_section(title, rows, width) for title, rows, width in sections if rows)


def _section(title: str, rows: list[Row], cell_width: int) -> str:
    lines = [line for row in rows for line in _wrapped(row, cell_width)]
    columns = max(len(line) for line in lines)
    widths = [max(len(line[column]) if column < len(line) else 0 for line in lines) for column in range(columns)]
    text = "".join(
        INDENT * 2 + formats.GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)) + "\n"
        for line in lines
    )
    return f"{INDENT}{title}\n" + "".join(f"{line.rstrip()}\n" for line in text.splitlines()) + "\n"


def _wrapped(row: Row, width: int) -> list[list[str]]:
    """One row as the lines it needs when no cell is wider than `width`, words kept whole."""
    cells = [textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""] for cell in row]
    height = max(len(cell) for cell in cells)
    return [[cell[line] if line < len(cell) else "" for cell in cells] for line in range(height)]


def _model_rows(answer: dict[str, Any]) -> list[Row]:
    details = answer.get("details") or {}
    info = answer.get("model_info") or {}
    architecture = str(info.get("general.architecture", ""))
    parameters = str(details.get("parameter_size") or "") or _counted(info.get("general.parameter_count"))
    rows = [
        ("Remote model", str(answer.get("remote_model") or "")),
        ("Remote URL", str(answer.get("remote_host") or "")),
        ("architecture", architecture or str(details.get("family") or "")),
        ("parameters", parameters),
        ("context length", _plain(info.get(f"{architecture}.context_length"))),
        ("embedding length", _plain(info.get(f"{architecture}.embedding_length"))),
        ("quantization", str(details.get("quantization_level") or "")),
        ("requires", str(answer.get("requires") or "")),
    ]
    return [row for row in rows if row[1]]


def _projector_rows(info: dict[str, Any]) -> list[Row]:
    architecture = str(info.get("general.architecture", ""))
    rows = [
        ("architecture", architecture),
        ("parameters", _counted(info.get("general.parameter_count"))),
        ("embedding length", _plain(info.get(f"{architecture}.vision.embedding_length"))),
        ("dimensions", _plain(info.get(f"{architecture}.vision.projection_dim"))),
    ]
    return [row for row in rows if row[1]]


def _linked_rows(parts: Iterable[dict[str, Any]]) -> list[Row]:
    return [(str(part.get("note") or part.get("path", "")),) for part in parts]


def _parameter_rows(text: str) -> list[Row]:
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def _metadata_rows(info: dict[str, Any]) -> list[Row]:
    return [(key, _short(info[key])) for key in sorted(info)]


def _tensor_rows(tensors: Iterable[dict[str, Any]]) -> list[Row]:
    return [
        (
            str(tensor.get("name", "")),
            str(tensor.get("type", "")),
            "[" + ", ".join(str(size) for size in tensor.get("shape") or ()) + "]",
        )
        for tensor in tensors
    ]


def _beginning(text: str) -> list[Row]:
    """The first two lines that say something, and a mark where more follow."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    rows: list[Row] = [(line,) for line in lines[:TEXT_LINES]]
    return [*rows, ("...",)] if len(lines) > TEXT_LINES else rows


def _short(value: Any) -> str:
    """Numbers in short form, lists cut to their beginning."""
    if isinstance(value, list):
        return _short_list(value)
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else ""
    if isinstance(value, int):
        return formats.count(value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _short_list(values: list[Any]) -> str:
    shown: list[str] = []
    for value in values:
        if len(", ".join([*shown, str(value)])) > LIST_WIDTH and shown:
            break
        shown.append(str(value))
    rest = len(values) - len(shown)
    more = f" ...+{rest} more" if rest else ""
    return f"[{', '.join(shown)}{more}]"


def _counted(value: Any) -> str:
    return formats.count(value) if isinstance(value, int) and value else ""


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, int) and value else ""
