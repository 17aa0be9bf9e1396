"""Context, slots and batch: the numbers a model is loaded with when nobody, or somebody, asks for them."""

from __future__ import annotations

from collections.abc import Sequence

from server.hardware.devices import Device
from server.messages.models import ModelSpec
from server.scheduler.sizes import GIB, MIB

SMALLEST_CONTEXT = 4
SMALLEST_VISION_CONTEXT = 2048
SPARE_BYTES = ((2048, 2 * GIB), (1024, 768 * MIB))  # what must be left for a batch to be chosen, largest first
TIERS = ((47 * GIB, 262144), (23 * GIB, 32768), (0, 4096))  # GPU memory of the machine, default context

SINGLE_SLOT_FAMILIES = frozenset({
    "mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe", "nemotron_h",
    "nemotron_h_moe", "nemotron_h_omni",
})  # fmt: skip
SMALLEST_IMAGES = dict.fromkeys(("qwen2vl", "qwen25vl", "qwen3vl", "qwen3vlmoe"), 1024)  # tokens
UNSHIFTED_FAMILIES = frozenset({"deepseek2"})


def tier_context(devices: Sequence[Device], overhead_bytes: int) -> int:
    """The default context for the GPU memory of the whole machine."""
    memory = sum(max(0, device.total_bytes - overhead_bytes) for device in devices)
    return next(context for least, context in TIERS if memory >= least)


def lower_tier(context: int) -> int | None:
    """The next smaller default, for a load that ran out of memory; None below the smallest."""
    return next((tier for _, tier in TIERS if tier < context), None)


def clamped_context(spec: ModelSpec, context: int) -> int:
    """Within what an engine can work with and what the model was trained for."""
    context = max(context, SMALLEST_VISION_CONTEXT if spec.has_vision else SMALLEST_CONTEXT)
    return min(context, spec.shape.context_length or context)


def slot_count(spec: ModelSpec, num_parallel: int) -> int:
    """How many answers a runner gives at once."""
    if not spec.can_complete or spec.shape.architecture in SINGLE_SLOT_FAMILIES:
        return 1
    return max(1, num_parallel)


def shift_choice(spec: ModelSpec, shift: bool | None) -> bool:
    """Whether a full context is shifted on. None is "not said"."""
    return spec.shape.architecture not in UNSHIFTED_FAMILIES if shift is None else shift


def image_min_tokens(spec: ModelSpec) -> int:
    """What an image is made of at least; 0 leaves it to the projector. Models that point at places in an image need
    to see small ones enlarged."""
    return SMALLEST_IMAGES.get(spec.shape.architecture, 0) if spec.projector_path else 0


def whole_image_tokens(spec: ModelSpec) -> int:
    """What a batch must hold, because the tokens of an image see each other and cannot be split; 0 where they can."""
    return max((each.image_tokens for each in spec.projector.encoders if each.is_whole), default=0)


def batch_choices(cells: int) -> tuple[int, ...]:
    """Automatic batch sizes for a generative model, the one to prefer first. `cells` is context times slots."""
    if cells > 32768:
        return 2048, 1024, 512
    return (1024, 512) if cells > 4096 else (512,)


def batch_spare_bytes(batch: int) -> int:
    """What must be left beside weights and cache for the server to choose this batch by itself."""
    return next((size for least, size in SPARE_BYTES if batch >= least), 0)


def unfused_batch(cells: int, cuda: Sequence[Device]) -> int:
    """The batch on CUDA devices without flash attention, whose scores fill much memory."""
    return 256 if cells > 4096 and any(device.total_bytes <= 8 * GIB for device in cuda) else 512
