"""Arithmetic on vectors, given and returned as little-endian float32. numpy is imported when the first one comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from server.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Doubles = npt.NDArray[np.float64]

LEAST_LENGTH = 1e-12  # a shorter vector is divided by this, so that nothing is divided by zero
SAFE_DIGITS, MOST_DIGITS = 6, 9  # so many always survive float32; so many always say which float32 it is
SMALLEST_SCALED, LARGEST_SCALED = 1e-13, 1e6  # between these, nine digits are exact in float64


def finished(vectors: Sequence[bytes], dimensions: int, *, normalize: bool) -> tuple[bytes, ...]:
    """Vectors as they go out: shortened to `dimensions` where they have more, and of length 1.

    Raises InvalidRequest for one that holds what is no number.
    """
    import numpy as np

    if not vectors:
        return ()
    table = _table(vectors)
    if not np.isfinite(table).all():
        raise InvalidRequest("embedding contains NaN or Inf values")
    if 0 < dimensions < table.shape[1]:
        table = table[:, :dimensions]
    if normalize:
        exact = table.astype(np.float64)
        lengths = np.sqrt(np.square(exact).sum(axis=1, keepdims=True))
        table = (exact / np.maximum(lengths, LEAST_LENGTH)).astype("<f4")
    return tuple(row.tobytes() for row in table)


def short_numbers(vectors: Sequence[bytes]) -> list[list[float]]:
    """Numbers that print with as few digits as tell each float32 from its neighbours."""
    if not vectors:
        return []
    table = _table(vectors)
    flat: list[float] = _shortest(table.ravel()).tolist()
    width = table.shape[1]
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def full_numbers(vectors: Sequence[bytes]) -> list[list[float]]:
    """Numbers that print as the float64 of each float32, with all its digits."""
    numbers: list[list[float]] = _table(vectors).tolist() if vectors else []
    return numbers


def _table(vectors: Sequence[bytes]) -> Floats:
    """[vectors, numbers]."""
    import numpy as np

    return np.frombuffer(b"".join(vectors), "<f4").reshape(len(vectors), -1)


def _shortest(values: Floats) -> Doubles:
    """The float64 next to the shortest decimal that reads back as the same float32."""
    import numpy as np

    exact = values.astype(np.float64)
    found = exact.copy()
    size = np.abs(exact)
    is_scaled = (size >= SMALLEST_SCALED) & (size < LARGEST_SCALED)
    left = np.flatnonzero(is_scaled)
    exponents = np.floor(np.log10(size, where=is_scaled, out=np.zeros_like(size)))
    for digits in range(SAFE_DIGITS, MOST_DIGITS + 1):
        # An integer divided by a power of ten that float64 holds exactly is the float64 next to the decimal.
        scale = 10.0 ** (digits - 1 - exponents[left])
        tried = np.rint(exact[left] * scale) / scale
        fits = tried.astype(np.float32) == values[left]
        found[left[fits]] = tried[fits]
        left = left[~fits]
    for place in np.flatnonzero(~is_scaled & (exact != 0.0)):
        found[place] = float(str(values[place]))
    return found
