"""Qwen 3: no biases, a norm for each head of query and key."""

from __future__ import annotations

from server.convert.config import Config
from server.convert.families import decoder
from server.convert.plan import Outline
from server.convert.rope import Rope

ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen3Model")

ROWS = (
    decoder.EMBEDDINGS,
    decoder.FINAL_NORM,
    decoder.OUTPUT,
    decoder.ATTENTION_NORM,
    decoder.QUERY,
    decoder.KEY,
    decoder.VALUE,
    *decoder.HEAD_NORMS,
    decoder.ATTENTION_OUTPUT,
    decoder.FEED_FORWARD_NORM,
    *decoder.FEED_FORWARD,
)


def outline(config: Config) -> Outline:
    decoder.check_activation(config, "silu")
    decoder.check_no_window(config, "Qwen 3")
    sizes = decoder.dimensions(config, head=128)
    keys = [*decoder.keys(config, sizes), *Rope(config).keys("linear", "yarn")]
    return Outline("qwen3", tuple(keys), sizes, ROWS)
