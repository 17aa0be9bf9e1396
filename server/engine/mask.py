"""Which tokens a grammar allows next, written into a row of logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from server.engine.penalties import Row

Ids = npt.NDArray[np.int64]


class TokenMask:
    """One bit per token. Neighbouring tokens of an answer often have the same mask, inside a string for instance, so
    the ids that follow from the last one are kept."""

    def __init__(self, size: int) -> None:
        self._bits = np.zeros((size + 31) // 32, np.uint32)
        self._last = np.zeros_like(self._bits)
        self._size = size
        self._allowed: Ids = np.empty(0, np.int64)
        self._forbidden: Ids | None = None  # where they are the fewer
        self.address: int = self._bits.ctypes.data
        self.bytes: int = self._bits.nbytes

    def read(self) -> int:
        """How many tokens the bits allow, which were written to `address`."""
        if not np.array_equal(self._bits, self._last):
            self._last[:] = self._bits
            flags = np.unpackbits(self._bits.view(np.uint8), count=self._size, bitorder="little").view(np.bool_)
            self._allowed = np.flatnonzero(flags)
            self._forbidden = np.flatnonzero(~flags) if 2 * len(self._allowed) > self._size else None
        return len(self._allowed)

    def first(self) -> int:
        return int(self._allowed[0])

    def apply(self, row: Row) -> None:
        """Forbid all other tokens."""
        if self._forbidden is not None:
            row[self._forbidden] = -np.inf
            return
        kept = row[self._allowed]
        row.fill(-np.inf)
        row[self._allowed] = kept
