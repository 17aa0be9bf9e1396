"""What a model keeps in memory: its weights, and what a context remembers of its texts.

    KV      = sum over layers of (keys + values of a cell) * bytes per element * cells
    cells   = context * slots, rounded up to 256; of a windowed layer window * sequences + batch, rounded up to 256
    state   = sum over recurrent layers of their state * 4 bytes * sequences

Sources: llama.cpp's KV caches and recurrent memory, and how the engine creates its context. A layer counts as the
engine counts layers: the output is the first that moves to a GPU, the last repeating one the second.
"""

from __future__ import annotations

from collections.abc import Sequence

from server.messages.frames import LaunchPlan
from server.messages.models import LayerShape, ModelShape

MIB = 1024 * 1024
GIB = 1024 * MIB
PADDING_CELLS = 256
MOST_TEXTS = 64  # that the engine reads at once to make vectors
STATE_BYTES = 4  # of an element: recurrent states are always f32

BLOCK_BYTES = {  # of one element of a KV cache, by ggml type: bytes of a block over its elements
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip


def layers_of(shape: ModelShape) -> Sequence[LayerShape]:
    """The layers, made up from the coarse numbers where the header's tensors are not known one by one."""
    if len(shape.layers) == shape.block_count:
        return shape.layers
    head_length = shape.embedding_length // shape.head_count if shape.head_count else 0
    key, value = shape.key_length or head_length, shape.value_length or head_length
    weights = _weights_by_layer(shape)
    return [
        LayerShape(weights_bytes=size, keys=heads * key, values=heads * value, heads=shape.head_count)
        for size, heads in zip(weights, _kv_heads(shape), strict=True)
    ]


def _weights_by_layer(shape: ModelShape) -> Sequence[int]:
    if len(shape.layer_bytes) == shape.block_count:
        return shape.layer_bytes
    return [shape.weights_bytes // (shape.block_count + 1)] * shape.block_count


def _kv_heads(shape: ModelShape) -> list[int]:
    """One number per layer; a header may give one for all, or none, which then is every head. A layer with 0 keeps
    no KV when the header lists layers one by one."""
    known = shape.head_count_kv
    if len(known) == shape.block_count:
        return list(known)
    return [(known[0] if known else 0) or shape.head_count] * shape.block_count


# ---- what the engine makes of a plan -------------------------------------------------------------------------------


def padded(cells: int) -> int:
    return -(-cells // PADDING_CELLS) * PADDING_CELLS


def cells_of(plan: LaunchPlan) -> int:
    """The tokens that all streams together can have."""
    return padded(max(plan.context_tokens, 1) * plan.slots)


def batch_of(plan: LaunchPlan) -> int:
    """The most tokens that are computed at once."""
    return min(max(plan.batch_tokens, plan.slots), cells_of(plan))


def sequences_of(shape: ModelShape, plan: LaunchPlan) -> int:
    """How many texts are told apart in the memory."""
    if not plan.embedding:
        return plan.slots
    is_recurrent = any(layer.state for layer in shape.layers)
    return 1 if is_recurrent else min(MOST_TEXTS, batch_of(plan))


def window_cells_of(shape: ModelShape, plan: LaunchPlan) -> int:
    wanted = shape.window_tokens * sequences_of(shape, plan) + batch_of(plan)
    return padded(min(cells_of(plan), wanted))


# ---- sums ----------------------------------------------------------------------------------------------------------


def loaded_bytes(shape: ModelShape) -> int:
    """The weights that leave the file, each counted once."""
    return max(0, shape.weights_bytes - shape.unused_bytes)


def cache_layer_bytes(shape: ModelShape, plan: LaunchPlan) -> list[int]:
    """KV cache and recurrent state, per layer."""
    layers = layers_of(shape)
    if not shape.has_cache:
        return [0] * len(layers)
    element = BLOCK_BYTES.get(plan.kv_type.lower(), BLOCK_BYTES["f16"])
    cells, window = cells_of(plan), window_cells_of(shape, plan)
    sequences = sequences_of(shape, plan)
    # Without flash attention the values lie transposed, all layers with rows of the widest.
    widest = max((layer.values for layer in layers), default=0) if plan.flash_attention == "off" else 0
    found = []
    for layer in layers:
        values = max(layer.values, widest) if layer.values else 0
        kept = int((layer.keys + values) * element * (window if layer.is_windowed else cells))
        found.append(kept + layer.state * STATE_BYTES * sequences)
    return found


def output_layer_bytes(shape: ModelShape) -> int:
    """The weights behind the last repeating layer; where the output is tied to the input, a GPU gets its own copy."""
    behind = loaded_bytes(shape) - sum(layer.weights_bytes for layer in layers_of(shape))
    return max(0, behind - (0 if shape.is_tied else shape.input_bytes))


def layers_that_fit(shape: ModelShape, plan: LaunchPlan, room_bytes: int) -> int:
    """How many layers, counted as the engine does, fit beside each other: all repeating ones plus the output layer is
    `block_count + 1`."""
    count = 0
    for weights, kept in _in_moving_order(shape, plan):
        room_bytes -= weights + kept
        if room_bytes < 0:
            return count
        count += 1
    return count


def offloaded_bytes(shape: ModelShape, plan: LaunchPlan, layers: int) -> tuple[int, int]:
    """Weights and cache of `layers` layers, counted as in `layers_that_fit`; a negative number is all of them."""
    moved = _in_moving_order(shape, plan)
    chosen = moved if layers < 0 else moved[:layers]
    return sum(weights for weights, _ in chosen), sum(kept for _, kept in chosen)


def _in_moving_order(shape: ModelShape, plan: LaunchPlan) -> list[tuple[int, int]]:
    """The engine moves the last layers first, and the output with the first of them that is asked for."""
    pairs = [(layer.weights_bytes, kept) for layer, kept in zip(
        layers_of(shape), cache_layer_bytes(shape, plan), strict=True
    )]  # fmt: skip
    return [(output_layer_bytes(shape), 0), *reversed(pairs)]
