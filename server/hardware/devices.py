"""One GPU, as the placement of models sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CPU_POOL = "cpu"

_LIBRARIES = {"MTL": "Metal", "METAL": "Metal", "CUDA": "CUDA", "ROCM": "ROCm", "HIP": "ROCm", "VULKAN": "Vulkan"}
_KINDS = {"gpu": False, "igpu": True}  # ggml's device types that can hold layers, and whether they share system memory


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU that llama.cpp can use.

    `index` is its place in ggml's list, which is what a LaunchPlan names. `compute` is a CUDA capability such as
    "8.9" and `driver` the vendor's version, both "" where unknown. `free_bytes` is from when the list was made.
    """

    index: int
    name: str
    description: str = ""
    library: str = ""
    total_bytes: int = 0
    free_bytes: int = 0
    is_integrated: bool = False
    compute: str = ""
    driver: str = ""
    pci_id: str = ""
    uuid: str = ""

    @property
    def pool(self) -> str:
        """The name of its memory in budgets."""
        return f"gpu{self.index}"


@dataclass(frozen=True, slots=True)
class Reading:
    """Memory at one moment, in bytes per pool. A pool that cannot be read live is in `total` alone, and its total is
    then what was free when the devices were listed."""

    free: Mapping[str, int]
    total: Mapping[str, int]


def read_listing(rows: Iterable[Mapping[str, Any]]) -> tuple[Device, ...]:
    """The GPUs among the rows that `devices` of the engine prints; other rows are processors.

    Raises KeyError, TypeError or ValueError on rows of another form.
    """
    found = []
    for position, row in enumerate(rows):
        kind = str(row.get("type", "")).lower()
        if kind not in _KINDS:
            continue
        name = str(row["name"])
        found.append(
            Device(
                index=int(row.get("index", position)),
                name=name,
                description=str(row.get("description", "")),
                library=library_of(name),
                total_bytes=int(row["memory_total"]),
                free_bytes=int(row["memory_free"]),
                is_integrated=_KINDS[kind],
                pci_id=str(row.get("id") or "").lower(),
            )
        )
    return tuple(found)


def library_of(name: str) -> str:
    """The vendor library behind a ggml device name such as CUDA0."""
    stem = re.sub(r"\d+$", "", name)
    return _LIBRARIES.get(stem.upper(), stem)
