"""How much memory a model takes: weights, KV and working memory, from the sizes in its header.

    KV      = sum over layers of kv_heads * (key_length + value_length) * bytes per element * context * slots
    work    = 2 GiB from a batch of 2048 on, 768 MiB from 1024 on, nothing below; embedding models need none
    total   = weights + KV + work

Measured sizes replace these once a model is loaded. A model whose header says too little takes its weights alone.
"""

from __future__ import annotations

from server.messages.models import ModelShape

MIB = 1024 * 1024
GIB = 1024 * MIB

_BLOCK_BYTES = {  # of one element of a KV cache, by ggml type: bytes of a block over its elements
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip
_WORK_BYTES = ((2048, 2 * GIB), (1024, 768 * MIB))  # by batch, largest first


def kv_layer_bytes(shape: ModelShape, cells: int, kv_type: str) -> list[int]:
    """Per layer, for `cells` tokens: context times slots."""
    head_length = shape.embedding_length // shape.head_count if shape.head_count else 0
    width = (shape.key_length or head_length) + (shape.value_length or head_length)
    element = _BLOCK_BYTES.get(kv_type, _BLOCK_BYTES["f16"])
    return [int(heads * width * element * cells) for heads in _kv_heads(shape)]


def _kv_heads(shape: ModelShape) -> list[int]:
    """One number per layer; a header may give one for all, or none, which then is every head. A layer with 0 keeps
    no KV when the header lists layers one by one."""
    known = shape.head_count_kv
    if len(known) == shape.block_count:
        return list(known)
    return [(known[0] if known else 0) or shape.head_count] * shape.block_count


def weight_layer_bytes(shape: ModelShape) -> list[int]:
    """Per repeating layer; spread evenly where the header's tensors are not known one by one."""
    if len(shape.layer_bytes) == shape.block_count:
        return list(shape.layer_bytes)
    return [shape.weights_bytes // (shape.block_count + 1)] * shape.block_count


def work_bytes(batch_tokens: int, is_generative: bool) -> int:
    if not is_generative:
        return 0
    return next((size for batch, size in _WORK_BYTES if batch_tokens >= batch), 0)


def total_bytes(shape: ModelShape, cells: int, kv_type: str, batch_tokens: int, is_generative: bool) -> int:
    return shape.weights_bytes + sum(kv_layer_bytes(shape, cells, kv_type)) + work_bytes(batch_tokens, is_generative)


def layers_that_fit(shape: ModelShape, cells: int, kv_type: str, room_bytes: int) -> int:
    """How many layers, counted as the engine does, fit beside each other: all repeating ones plus the output layer is
    `block_count + 1`."""
    layers = [
        weights + kv
        for weights, kv in zip(weight_layer_bytes(shape), kv_layer_bytes(shape, cells, kv_type), strict=True)
    ]
    output = max(0, shape.weights_bytes - sum(weight_layer_bytes(shape)))
    count = 0
    # The engine moves the last layers first, and the output with the first of them that is asked for.
    for size in [output, *reversed(layers)]:
        if size > room_bytes:
            return count
        room_bytes -= size
        count += 1
    return count


def offloaded_bytes(shape: ModelShape, cells: int, kv_type: str, layers: int) -> int:
    """Weights and KV of `layers` layers, counted as in `layers_that_fit`."""
    weights, kv = weight_layer_bytes(shape), kv_layer_bytes(shape, cells, kv_type)
    output = max(0, shape.weights_bytes - sum(weights))
    repeating = [sum(pair) for pair in zip(reversed(weights), reversed(kv), strict=True)]
    return sum([output, *repeating][:layers])
