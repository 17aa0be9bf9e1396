"""The parts that a model's memory consists of, and what a load measured in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

PartKind = Literal["weights", "kv", "compute", "output", "overhead"]
Basis = Literal["about", "measured"]


@dataclass(frozen=True, slots=True)
class Part:
    """`arithmetic` is how `bytes` came about, in words and numbers. `is_later`: it comes with use, so that no load
    measures it."""

    kind: PartKind
    bytes: int
    arithmetic: str
    is_later: bool = False


@dataclass(frozen=True, slots=True)
class DeviceFootprint:
    """What one pool of memory holds: "cpu" or a GPU, such as "gpu0"."""

    pool: str
    parts: tuple[Part, ...]

    def bytes_of(self, *kinds: PartKind) -> int:
        return sum(part.bytes for part in self.parts if part.kind in kinds)

    @property
    def buffer_bytes(self) -> int:
        """What llama.cpp allocates: all but the overhead."""
        return self.total_bytes - self.bytes_of("overhead")

    @property
    def total_bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True, slots=True)
class Footprint:
    """The GPUs first, the processor's memory last. `gpu_layers` of `total_layers` are on GPUs."""

    devices: tuple[DeviceFootprint, ...]
    gpu_layers: int
    total_layers: int
    basis: Basis = "about"

    def need(self) -> dict[str, int]:
        """Bytes of buffers per pool, those without any left out."""
        return {device.pool: device.buffer_bytes for device in self.devices if device.buffer_bytes}

    def bytes_of(self, *kinds: PartKind) -> int:
        return sum(device.bytes_of(*kinds) for device in self.devices)

    @property
    def total_bytes(self) -> int:
        return sum(device.total_bytes for device in self.devices)


def corrected(estimate: Footprint, measured: Mapping[str, Mapping[str, int]]) -> Footprint:
    """The footprint with what a load took, by pool and kind; kinds that were not measured stay as they are."""
    devices = tuple(
        replace(device, parts=_measured_parts(device.parts, measured.get(device.pool, {})))
        for device in estimate.devices
    )
    return replace(estimate, devices=devices, basis="measured")


def _measured_parts(parts: Sequence[Part], measured: Mapping[str, int]) -> tuple[Part, ...]:
    """A load measures all parts of a kind as one, which takes the place of the first."""
    found: list[Part] = []
    seen: set[PartKind] = set()
    for part in parts:
        if part.is_later or part.kind not in measured:
            found.append(part)
        elif part.kind not in seen:
            seen.add(part.kind)
            found.append(Part(part.kind, measured[part.kind], "measured when it was loaded last"))
    return tuple(found)
