"""The memory that llama.cpp computes in, by what is alive at the busiest moment of a batch.

All widths are in elements of 4 bytes, per token of the batch. A step's busiest moment:

    attention     2 embeddings + 2 queries + keys + values; without flash attention every token's score for every
                  cell, per head, too, and where the cache has keys alone another query and 2 outputs
    feed-forward  2 embeddings + attention output + 3 feed-forward (up, gate, product), 1 without a gate
    experts       the same with 3 * used experts * their length, and used experts * embedding where that does not fit
                  into what up and gate leave behind
    recurrent     2 embeddings + 6 inner widths
    output        embedding + vocabulary, per row of logits; the mask is gone by then

The largest of them counts, because one takes the place of the other. On top lie the inputs, which stay: an embedding
per token with twice what layers get beside it, and the mask, a number of 2 bytes (4 without flash attention) per token
and cell for each kind of layer. The numbers were found by comparing with what llama.cpp reports for many shapes; tests
hold them to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.messages.frames import LaunchPlan
from server.messages.models import LayerShape, ModelShape
from server.scheduler import sizes

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Work:
    """`inputs` and `mask` in bytes; `step` names the busiest, `step_bytes` is what it takes. `rows` are rows of
    logits."""

    tokens: int
    rows: int
    inputs_bytes: int
    mask_bytes: int
    step: str
    step_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.inputs_bytes + self.mask_bytes + self.step_bytes


def work_of(shape: ModelShape, plan: LaunchPlan) -> Work | None:
    """None where the header says too little to know."""
    layers = sizes.layers_of(shape)
    if not any(layer.query or layer.state for layer in layers):
        return None
    sequences = sizes.sequences_of(shape, plan)
    batch = sizes.batch_of(plan)
    tokens = -(-batch // sequences) * sequences
    rows = batch if plan.embedding else plan.slots
    mask, output = _mask(shape, plan, tokens), _output(shape, plan, rows)
    steps: dict[str, int] = {}
    for layer in set(layers):
        for name, width in _widths(layer, shape, plan).items():
            steps[name] = max(steps.get(name, 0), width * tokens * FLOAT_BYTES)
    step = max(steps, key=lambda name: steps[name])
    inputs = (shape.embedding_length + 2 * shape.layer_inputs) * tokens * FLOAT_BYTES
    if output > mask + steps[step]:
        return Work(tokens, rows, inputs, 0, "output", output)
    return Work(tokens, rows, inputs, mask, step, steps[step])


def _widths(layer: LayerShape, shape: ModelShape, plan: LaunchPlan) -> dict[str, int]:
    embedding = shape.embedding_length
    found: dict[str, int] = {}
    keys, values = layer.keys or layer.query, layer.values or layer.attention
    if layer.keys or not shape.has_cache:
        scores = 0
        if plan.flash_attention == "off":
            scores = _cells(layer, shape, plan) * layer.heads
            if not layer.values and shape.has_cache:  # the values are unfolded from the keys
                scores += layer.query + 2 * layer.attention
        found["attention"] = scores + 2 * embedding + 2 * layer.query + keys + values
    if layer.state:
        found["recurrent"] = 2 * embedding + 6 * layer.inner
    rest = 2 * embedding + layer.attention
    found["feed-forward"] = rest + (3 if layer.is_gated else 1) * layer.feed_forward
    if layer.experts_used:
        length = layer.experts_used * layer.expert_feed_forward
        results = layer.experts_used * embedding
        found["experts"] = rest + 3 * length + (results if results > 2 * length else 0)
    return found


def _cells(layer: LayerShape, shape: ModelShape, plan: LaunchPlan) -> int:
    if not shape.has_cache:
        return sizes.batch_of(plan)
    return sizes.window_cells_of(shape, plan) if layer.is_windowed else sizes.cells_of(plan)


def _output(shape: ModelShape, plan: LaunchPlan, rows: int) -> int:
    if plan.embedding and not shape.has_cache:
        return 0
    return rows * (shape.vocab_size + shape.embedding_length) * FLOAT_BYTES


def _mask(shape: ModelShape, plan: LaunchPlan, tokens: int) -> int:
    """One for each length of cache that some layer attends to."""
    attending = [layer for layer in sizes.layers_of(shape) if layer.keys or (layer.heads and not shape.has_cache)]
    lengths = {(layer.is_windowed, _cells(layer, shape, plan)) for layer in attending}
    element = FLOAT_BYTES if plan.flash_attention == "off" else 2
    return sum(cells for _, cells in lengths) * tokens * element
