"""Names of renderers that mean another one for each model."""

from __future__ import annotations

_GEMMA = "gemma4"  # one name for two prompts, told apart by the model
_LARGE_PARAMETERS = 12_000_000_000
_UNITS = {"B": 1_000_000_000, "M": 1_000_000, "K": 1_000}


def resolve(name: str, short_name: str, full_name: str, size: str) -> str:
    """The renderer that a configured name means for a model. `size` is the text of its size, such as 27.4B.

    The sizes in the model's short name decide, then those in its full name, then what is known of the size.
    """
    if name != _GEMMA:
        return name
    for text in (short_name.lower(), full_name.lower()):
        if any(mark in text for mark in ("e2b", "e4b")):
            return "gemma4-small"
        if any(mark in text for mark in ("12b", "26b", "31b")):
            return "gemma4-large"
    return "gemma4-large" if _parameters(size) >= _LARGE_PARAMETERS else "gemma4-small"


def _parameters(size: str) -> float:
    """The number that a text such as 27.4B stands for, 0 where it is none."""
    unit = _UNITS.get(size[-1:].upper(), 0)
    try:
        return float(size[:-1]) * unit
    except ValueError:
        return 0
