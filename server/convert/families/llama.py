"""Llama, and models built like it: Mistral's, SmolLM, TinyLlama, DeepSeek's distillations, and many more."""

from __future__ import annotations

from dataclasses import replace

from server.convert.config import Config
from server.convert.families import decoder
from server.convert.plan import Outline, Row, count, interleaved
from server.convert.rope import Rope

ARCHITECTURES = ("LlamaForCausalLM", "LlamaModel")

ROWS = (
    decoder.EMBEDDINGS,
    decoder.FINAL_NORM,
    decoder.OUTPUT,
    decoder.ATTENTION_NORM,
    replace(decoder.QUERY, change=interleaved("heads")),
    replace(decoder.KEY, change=interleaved("key_heads")),
    decoder.VALUE,
    decoder.ATTENTION_OUTPUT,
    *(
        replace(row, change=interleaved(heads))
        for row, heads in zip(decoder.biases("q", "k", is_optional=True), ("heads", "key_heads"), strict=True)
    ),
    *decoder.biases("v", is_optional=True),
    Row("layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", ("width",), is_optional=True),
    decoder.FEED_FORWARD_NORM,
    *decoder.FEED_FORWARD,
    Row("layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias", ("feed_forward",), is_optional=True),
    Row("layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias", ("feed_forward",), is_optional=True),
    Row("layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias", ("width",), is_optional=True),
)


def outline(config: Config) -> Outline:
    decoder.check_activation(config, "silu")
    sizes = decoder.dimensions(config)
    rope = Rope(config)
    keys = [
        *decoder.keys(config, sizes),
        count(".rope.dimension_count", sizes["head"]),
        *rope.keys("linear", "yarn", "llama3"),
    ]
    return Outline("llama", tuple(keys), sizes, ROWS, decoder.llama3_constants(rope, sizes["head"]))
