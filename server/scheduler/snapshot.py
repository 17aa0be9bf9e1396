"""Status lines of runners, and what they measured of themselves."""

from __future__ import annotations

from collections.abc import Sequence

from server.hardware.devices import CPU_POOL, Device
from server.messages.frames import Loaded, Pulse
from server.messages.models import RunnerState, RunningModel
from server.scheduler.events import Candidate
from server.scheduler.measurements import pool_of
from server.scheduler.state import Phase, Slot


def status_line(
    slot: Slot,
    candidate: Candidate,
    *,
    loaded: Loaded | None,
    pulse: Pulse | None,
    pid: int | None,
    load_fraction: float,
    waiting: int,
    now: float,
    unix: float,
) -> RunningModel:
    """`waiting` counts requests without a runner; those inside it are in the pulse. `now` and `unix` are the same
    moment on both clocks. A busy or loading model has its whole keep-alive before it."""
    size, gpu = sizes_of(loaded, candidate)
    expires_in = slot.expires_at - now if slot.is_idle else slot.keep_alive_seconds
    return RunningModel(
        name=slot.order.name,
        digest=slot.order.digest,
        path=slot.key,
        state=_state(slot),
        pid=pid,
        context_tokens=loaded.context_tokens if loaded else candidate.plan.context_tokens,
        slots=loaded.slots if loaded else candidate.plan.slots,
        size_bytes=size,
        gpu_bytes=gpu,
        buffers=loaded.buffers if loaded else (),
        load_fraction=1.0 if loaded else load_fraction,
        active=pulse.active if pulse else len(slot.leases),
        waiting=waiting + (pulse.waiting if pulse else 0),
        used_tokens=pulse.used_tokens if pulse else 0,
        tokens_per_second=pulse.tokens_per_second if pulse else 0.0,
        prompt_tokens_per_second=pulse.prompt_tokens_per_second if pulse else 0.0,
        steps=pulse.steps if pulse else 0,
        keep_alive_seconds=slot.keep_alive_seconds,
        # Two clocks are never read at the same instant; whoever asks twice shall be told the same time.
        expires_at=None if slot.is_pinned else round(unix + expires_in, 3),
    )


def _state(slot: Slot) -> RunnerState:
    if slot.phase is Phase.LOADING:
        return "loading"
    if slot.phase is Phase.STOPPING:
        return "stopping"
    return "draining" if slot.is_draining else "ready"


def sizes_of(loaded: Loaded | None, candidate: Candidate) -> tuple[int, int]:
    """Total and GPU bytes: measured where the engine said so, else as predicted. A model that is on the GPU with all
    its layers, and its projector, counts as wholly there, although small host buffers exist."""
    plan = candidate.plan
    has_parts_here = bool(plan.projector_path) and not plan.projector_offload
    if loaded is None or not loaded.buffers:
        total, taken = sum(candidate.need.values()), candidate.footprint
        gpu = total - candidate.need.get(CPU_POOL, 0)
        is_whole = taken is not None and taken.gpu_layers >= taken.total_layers and not has_parts_here
        return (gpu if is_whole else total), gpu
    gpu = sum(buffer.bytes for buffer in loaded.buffers if buffer.is_gpu)
    total = sum(buffer.bytes for buffer in loaded.buffers)
    is_whole = gpu > 0 and loaded.total_layers > 0 and loaded.gpu_layers >= loaded.total_layers and not has_parts_here
    return (gpu if is_whole else total), gpu


def measured_need(loaded: Loaded, devices: Sequence[Device]) -> dict[str, int] | None:
    """Bytes per pool as the engine allocated them; None where it did not say."""
    if not loaded.buffers:
        return None
    need: dict[str, int] = {}
    for buffer in loaded.buffers:
        pool = pool_of(buffer.device, devices) if buffer.is_gpu else CPU_POOL
        need[pool] = need.get(pool, 0) + buffer.bytes
    return need
