"""What Gemma 2 and 3 have in common: four norms a layer, each stored as its distance from one, and layers that see a
window in turn with layers that see everything."""

from __future__ import annotations

from dataclasses import replace

from server.convert.config import Config
from server.convert.families import decoder
from server.convert.plan import Key, Row, add_one
from server.errors import InvalidRequest

WINDOWED = "sliding_attention"

# The output is always the embeddings; a copy that some tools store is not needed.
ROWS = (
    decoder.EMBEDDINGS,
    replace(decoder.FINAL_NORM, change=add_one),
    replace(decoder.ATTENTION_NORM, change=add_one),
    decoder.QUERY,
    decoder.KEY,
    decoder.VALUE,
    decoder.ATTENTION_OUTPUT,
    Row("layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", ("width",), add_one),
    Row("layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", ("width",), add_one),
    Row("layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", ("width",), add_one),
    *decoder.FEED_FORWARD,
)


def check(config: Config, sizes: dict[str, int], largest_layers: int) -> None:
    """llama.cpp scales scores by the size of a head, and in the largest model (`largest_layers`) by its width over its
    heads. Raises InvalidRequest for a model that scales in another way."""
    decoder.check_activation(config, "gelu_pytorch_tanh")
    if config.get("use_bidirectional_attention"):
        raise InvalidRequest("this Gemma model reads in both directions, which cannot be converted")
    usual = sizes["width"] // sizes["heads"] if sizes["layers"] == largest_layers else sizes["head"]
    if config.number("query_pre_attn_scalar", default=usual) != usual:
        raise config.wrong("query_pre_attn_scalar", f"{usual}, which is what llama.cpp computes with")


def window_keys(config: Config, layers: int, every: int, default: int) -> list[Key]:
    """Which layers see a window. `every`: how llama.cpp alternates by itself; a model that does so needs no list."""
    pattern = config.count("sliding_window_pattern", "_sliding_window_pattern", default=every)
    kinds = config.texts("layer_types")
    windowed = [kind == WINDOWED for kind in kinds] or [(layer + 1) % pattern != 0 for layer in range(layers)]
    if len(windowed) != layers:
        raise config.wrong("layer_types", f"a list of {layers}, one for each layer")
    keys = [Key(".attention.sliding_window", "count", config.count("sliding_window", default=default))]
    if windowed != [layer % every < every - 1 for layer in range(layers)]:
        keys.append(Key(".attention.sliding_window_pattern", "flags", windowed))
    return keys
