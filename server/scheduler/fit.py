"""Will it fit? What a model would take on this machine, against what models may have of it.

An answer, never a refusal: whoever insists may load the model all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from server.hardware.devices import CPU_POOL, Device
from server.messages.frames import LaunchPlan
from server.scheduler.events import Order
from server.scheduler.parts import Basis, DeviceFootprint, Footprint, Part
from server.scheduler.placement import FILL

Verdict = Literal["gpu", "partly", "cpu", "too large"]
ADVICE = "A smaller context (num_ctx), a smaller KV cache (q8_0) or a stronger quantization takes less."
CLOSE = "It is a close fit: other models leave for it, and other programs may lack memory."


@dataclass(frozen=True, slots=True)
class PoolFit:
    """One pool of memory. `room_bytes` is what models may have of it together, None where nobody knows."""

    pool: str
    name: str
    parts: tuple[Part, ...]
    total_bytes: int
    room_bytes: int | None

    @property
    def is_held(self) -> bool:
        return self.room_bytes is None or self.total_bytes <= self.room_bytes

    @property
    def is_close(self) -> bool:
        """So full that nothing is loaded beside it."""
        return self.room_bytes is not None and self.total_bytes > FILL * self.room_bytes


@dataclass(frozen=True, slots=True)
class Fit:
    """`basis` says whether the numbers are an estimate ("about") or what the same load took before ("measured");
    `projector` where it is, "" for a model without one."""

    model: str
    verdict: Verdict
    sentence: str
    basis: Basis
    context_tokens: int
    slots: int
    batch_tokens: int
    kv_cache_type: str
    flash_attention: str
    gpu_layers: int
    total_layers: int
    projector: Literal["", "gpu", "cpu"]
    total_bytes: int
    pools: tuple[PoolFit, ...]
    notes: tuple[str, ...] = ()


def fit_of(order: Order, devices: tuple[Device, ...], room: Mapping[str, int]) -> Fit:
    """What the order's best way to load takes of each pool."""
    candidate = order.candidates[0]
    taken = candidate.footprint
    assert taken is not None  # placement always says how it came to its numbers
    names = {device.pool: device.description or device.name for device in devices}
    pools = tuple(_pool_fit(each, names, room) for each in taken.devices if each.total_bytes)
    verdict = "too large" if _is_shared_too_small(pools, devices) else _verdict(taken, pools)
    plan = candidate.plan
    return Fit(
        model=order.name,
        verdict=verdict,
        sentence=_sentence(order.name, plan, taken, pools, verdict),
        basis=taken.basis,
        context_tokens=plan.context_tokens,
        slots=plan.slots,
        batch_tokens=plan.batch_tokens,
        kv_cache_type=plan.kv_type,
        flash_attention=plan.flash_attention,
        gpu_layers=taken.gpu_layers,
        total_layers=taken.total_layers,
        projector=_projector(plan),
        total_bytes=taken.total_bytes,
        pools=pools,
        notes=order.notes,
    )


def _projector(plan: LaunchPlan) -> Literal["", "gpu", "cpu"]:
    if not plan.projector_path:
        return ""
    return "gpu" if plan.projector_offload else "cpu"


def _pool_fit(device: DeviceFootprint, names: Mapping[str, str], room: Mapping[str, int]) -> PoolFit:
    name = "system memory" if device.pool == CPU_POOL else names.get(device.pool, device.pool)
    return PoolFit(device.pool, name, device.parts, device.total_bytes, room.get(device.pool))


def _is_shared_too_small(pools: tuple[PoolFit, ...], devices: tuple[Device, ...]) -> bool:
    """An integrated GPU's memory is the system's: what both hold must fit into it together."""
    shared = {device.pool for device in devices if device.is_integrated}
    if not any(pool.pool in shared for pool in pools):
        return False
    host = next((pool for pool in pools if pool.pool == CPU_POOL), None)
    if host is None or host.room_bytes is None:
        return False
    return host.total_bytes + sum(pool.total_bytes for pool in pools if pool.pool in shared) > host.room_bytes


def _verdict(taken: Footprint, pools: tuple[PoolFit, ...]) -> Verdict:
    if not all(pool.is_held for pool in pools):
        return "too large"
    if not taken.gpu_layers:
        return "cpu"
    return "gpu" if taken.gpu_layers >= taken.total_layers else "partly"


# ---- words ---------------------------------------------------------------------------------------------------------


def _sentence(model: str, plan: LaunchPlan, taken: Footprint, pools: tuple[PoolFit, ...], verdict: Verdict) -> str:
    streams = f" for {plan.slots} answers at once" if plan.slots > 1 else ""
    about = "about " if taken.basis == "about" else ""
    measured = ", as measured when it was loaded last" if taken.basis == "measured" else ""
    total = f"{size_text(taken.total_bytes)}: " if len(pools) > 1 else ""
    shares = f"{about}{total}{' and '.join(map(_share, pools))}"
    first = f"{model} with {plan.context_tokens} tokens of context{streams} takes {shares}{measured}."
    return f"{first} {_ending(plan, taken, pools, verdict)}"


def _share(pool: PoolFit) -> str:
    free = "" if pool.room_bytes is None else f" ({size_text(pool.room_bytes)} free for models)"
    return f"{size_text(pool.total_bytes)} {'of' if pool.pool == CPU_POOL else 'on'} {pool.name}{free}"


def _ending(plan: LaunchPlan, taken: Footprint, pools: tuple[PoolFit, ...], verdict: Verdict) -> str:
    if verdict == "too large":
        return f"That is more than there is. {ADVICE} You may try it all the same."
    close = f" {CLOSE}" if any(pool.is_close for pool in pools) else ""
    if verdict == "gpu":
        whole = "all but its projector" if _projector(plan) == "cpu" else "whole"
        return f"It fits, {whole} on the GPU.{close}"
    if verdict == "partly":
        on_gpu = f"{taken.gpu_layers} of its {taken.total_layers} layers fit on the GPU"
        return f"{on_gpu}, the processor computes the rest, which is slower.{close}"
    return f"It fits; the processor computes it.{close}"


def size_text(size_bytes: int) -> str:
    """`4.7 GB`, `512 MB`: decimal, as the command line prints sizes."""
    if size_bytes >= 10**9:
        return f"{size_bytes / 10**9:.1f} GB"
    return f"{max(1, round(size_bytes / 10**6))} MB" if size_bytes else "0 MB"


def as_answer(fit: Fit) -> dict[str, Any]:
    """For JSON."""
    answer: dict[str, Any] = msgspec.to_builtins(fit)
    return answer
