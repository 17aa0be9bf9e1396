"""A file that exists only as the plan of one: bytes of another file in another order, with new bytes between them.

A model that was written for another engine becomes one that llama.cpp can load without a second copy of its weights.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Widening = Literal["", "F16", "BF16", "Q8_0"]
_GROWTH: dict[str, tuple[int, int]] = {"": (1, 1), "F16": (2, 4), "BF16": (2, 4), "Q8_0": (34, 128)}


class Patch(msgspec.Struct, frozen=True, array_like=True):
    """A run of bytes: `data` as it is, else the `size` bytes of the source from `offset` on.

    `order`: these are units of `unit` bytes, and only those with these numbers are taken, in this order. `widen`: the
    numbers are of this type and become 32-bit floats.
    """

    data: bytes = b""
    offset: int = 0
    size: int = 0
    unit: int = 0
    order: tuple[int, ...] = ()
    widen: Widening = ""

    @property
    def is_plain(self) -> bool:
        """Whether its bytes are as they are in the source."""
        return not self.unit and not self.widen

    @property
    def length(self) -> int:
        """How many bytes it becomes."""
        if self.data:
            return len(self.data)
        before, after = _GROWTH[self.widen]
        return (len(self.order) * self.unit if self.unit else self.size) // before * after


class Patchwork(msgspec.Struct, frozen=True):
    """The whole file; `source` is the path of the other one."""

    source: str
    patches: tuple[Patch, ...]

    def __repr__(self) -> str:
        return f"<{self.size} bytes in {len(self.patches)} pieces of {self.source}>"

    @property
    def size(self) -> int:
        return sum(patch.length for patch in self.patches)

    @property
    def is_plain(self) -> bool:
        """Whether any part of it can be read without another."""
        return all(patch.is_plain for patch in self.patches)
