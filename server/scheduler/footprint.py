"""The memory of one model on one machine, device by device, with the arithmetic of every number.

A pure function of the header's sizes and the plan that the engine gets; placement, the answer to "will it fit?" and
the status lines all take their numbers from here.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping

from server.hardware.devices import CPU_POOL
from server.messages.frames import LaunchPlan
from server.messages.models import ModelShape, ProjectorShape
from server.scheduler import compute, projection, sizes
from server.scheduler.parts import DeviceFootprint, Footprint, Part
from server.scheduler.sizes import MIB

HOST_OVERHEAD_BYTES = 64 * MIB  # the runner itself: interpreter and libraries
TOKEN_OVERHEAD_BYTES = 512  # of the vocabulary: texts, tables and the tree that grammars walk
PIPELINE_COPIES = 4  # of what goes into a batch, where llama.cpp keeps several GPUs busy at once
GPU_OVERHEAD_BYTES = 400 * MIB  # what a driver takes for a process: its context, kernels and scratch memory

# Weights that ggml lays out anew for the processor, by machine: a tied table of embeddings is then there twice,
# because rows of it are still looked up in the old form.
_REPACKED: Mapping[str, frozenset[str]] = {
    "x86": frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"}),
    "arm": frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "MXFP4", "Q8_0"}),
}


def footprint(
    shape: ModelShape,
    plan: LaunchPlan,
    shares: Mapping[str, float] | None = None,
    *,
    adapter_bytes: int = 0,
    projector: ProjectorShape | None = None,
    machine: str = "",
) -> Footprint:
    """`shares`: the GPUs of the plan by pool and how the engine splits layers among them; none is the processor
    alone. `adapter_bytes` are the tensors of adapters, which go where the layers are; a projector goes to the first
    GPU, or to none. `machine` is as `platform.machine()` says it."""
    shares = _normalised(shares or {})
    total_layers = shape.block_count + 1
    layers = 0 if not shares else total_layers if plan.gpu_layers < 0 else min(plan.gpu_layers, total_layers)
    weights, cache = sizes.offloaded_bytes(shape, plan, layers)
    work = compute.work_of(shape, plan)
    seeing = projection.parts(projector or ProjectorShape(), plan, on_gpu=layers > 0 and plan.projector_offload)
    found = []
    for number, (pool, share) in enumerate(shares.items() if layers else ()):
        parts = (*_gpu_parts(shape, plan, work, share, layers, weights, cache), *_adapters(adapter_bytes, share))
        found.append(DeviceFootprint(pool, parts if number else (*parts, *seeing.on_gpu)))
    whole_cache = sum(sizes.cache_layer_bytes(shape, plan))
    host = _host_parts(shape, plan, work, layers, weights, whole_cache - cache, machine or platform.machine())
    adapters = () if layers else _adapters(adapter_bytes, 1)
    found.append(DeviceFootprint(CPU_POOL, (*host, *adapters, *seeing.on_cpu)))
    return Footprint(tuple(found), layers, total_layers)


def _normalised(shares: Mapping[str, float]) -> dict[str, float]:
    whole = sum(shares.values())
    return {pool: share / whole if whole > 0 else 1 / len(shares) for pool, share in shares.items()}


# ---- GPUs ----------------------------------------------------------------------------------------------------------


def _gpu_parts(
    shape: ModelShape, plan: LaunchPlan, work: compute.Work | None, share: float, layers: int, weights: int, cache: int
) -> Iterable[Part]:
    part = "" if share == 1 else f", {share:.0%} of them"
    yield Part("weights", int(weights * share), f"{layers} of {shape.block_count + 1} layers{part}")
    if cache:
        yield Part("kv", int(cache * share), f"{_cache_arithmetic(shape, plan)}{part}")
    if work is not None:
        yield _gpu_work(shape, work, has_copies=share < 1 and layers > shape.block_count)
    yield Part("overhead", GPU_OVERHEAD_BYTES, "driver and kernels of the process")


def _gpu_work(shape: ModelShape, work: compute.Work, *, has_copies: bool) -> Part:
    """The embeddings are looked up on the processor, and only their sum comes over. Several GPUs that hold all layers
    work on several batches at a time, each with inputs of its own."""
    looked_up = shape.embedding_length * work.tokens * compute.FLOAT_BYTES
    more = (PIPELINE_COPIES - 1) * (work.inputs_bytes + work.mask_bytes) if has_copies else 0
    copies = f" + {PIPELINE_COPIES - 1} more sets of inputs {more}" if more else ""
    return Part("compute", work.total_bytes - looked_up + more, f"{_work_arithmetic(work, looked_up)}{copies}")


def _adapters(adapter_bytes: int, share: float) -> tuple[Part, ...]:
    return (Part("weights", int(adapter_bytes * share), "adapters"),) if adapter_bytes else ()


# ---- the processor -------------------------------------------------------------------------------------------------


def _host_parts(
    shape: ModelShape, plan: LaunchPlan, work: compute.Work | None, layers: int, moved: int, cache: int, machine: str
) -> Iterable[Part]:
    yield _host_weights(shape, plan, layers, moved, machine)
    if cache:
        yield Part("kv", cache, _cache_arithmetic(shape, plan) + (", layers on GPUs left out" if layers else ""))
    if work is not None:
        if layers > shape.block_count:
            yield Part("compute", 2 * work.inputs_bytes + work.mask_bytes, "embeddings and mask for the GPU")
        else:
            yield Part("compute", work.total_bytes, _work_arithmetic(work))
    yield _output_part(shape, plan)
    yield _host_overhead(shape, plan)


def _host_weights(shape: ModelShape, plan: LaunchPlan, layers: int, moved: int, machine: str) -> Part:
    loaded = sizes.loaded_bytes(shape)
    if layers:
        # A tied table is on both sides: rows of it are looked up here, the output is computed there.
        here = loaded - moved + (shape.input_bytes if shape.is_tied else 0)
        return Part("weights", max(0, here), "what no GPU holds, the table of embeddings among it")
    if shape.is_tied and shape.input_type in _repacked(machine):
        text = f"all tensors, and the embeddings again as the processor likes them ({shape.input_type})"
        return Part("weights", loaded + shape.input_bytes, text)
    return Part("weights", loaded, "all tensors")


def _repacked(machine: str) -> frozenset[str]:
    is_arm = machine.lower().startswith(("arm", "aarch"))
    return _REPACKED["arm" if is_arm else "x86"]


def _output_part(shape: ModelShape, plan: LaunchPlan) -> Part:
    rows = sizes.sequences_of(shape, plan)
    width = shape.vocab_size + (shape.embedding_length if plan.embedding else 0)
    return Part("output", rows * width * 4, f"{rows} x {width} x 4 bytes")


def _host_overhead(shape: ModelShape, plan: LaunchPlan) -> Part:
    """Where vectors are made, the output grows to a row per token with the first full batch."""
    process = HOST_OVERHEAD_BYTES + TOKEN_OVERHEAD_BYTES * shape.vocab_size
    text = f"the runner's process and {shape.vocab_size} tokens"
    if not plan.embedding:
        return Part("overhead", process, text)
    rows = max(0, sizes.batch_of(plan) - sizes.sequences_of(shape, plan))
    grown = rows * (shape.vocab_size + shape.embedding_length) * 4
    return Part("overhead", process + grown, f"{text}, and output for a full batch")


# ---- words ---------------------------------------------------------------------------------------------------------


def _cache_arithmetic(shape: ModelShape, plan: LaunchPlan) -> str:
    """`32 layers x 4096 cells x 2048 x 2 bytes (f16)`, for each kind of layer."""
    groups: dict[tuple[int, int], int] = {}
    states: dict[int, int] = {}
    cells, window = sizes.cells_of(plan), sizes.window_cells_of(shape, plan)
    for layer in sizes.layers_of(shape):
        if layer.keys:
            key = (window if layer.is_windowed else cells, layer.keys + layer.values)
            groups[key] = groups.get(key, 0) + 1
        if layer.state:
            states[layer.state] = states.get(layer.state, 0) + 1
    element = sizes.BLOCK_BYTES.get(plan.kv_type.lower(), 2.0)
    found = [
        f"{n} layers x {c} cells x {width} x {element:g} bytes ({plan.kv_type})" for (c, width), n in groups.items()
    ]
    rows = sizes.sequences_of(shape, plan)
    found += [f"{count} layers x {state} x 4 bytes x {rows} sequences" for state, count in states.items()]
    return " + ".join(found)


def _work_arithmetic(work: compute.Work, elsewhere_bytes: int = 0) -> str:
    per_token = work.step_bytes // max(1, work.tokens)
    inputs = work.inputs_bytes - elsewhere_bytes
    more = [f" + inputs {inputs}"] if inputs else []
    more += [f" + mask {work.mask_bytes}"] if work.mask_bytes else []
    return f"{work.tokens} tokens x {per_token} bytes ({work.step}){''.join(more)}"
