"""Qwen 2 and 2.5: biases on query, key and value."""

from __future__ import annotations

from server.convert.config import Config
from server.convert.families import decoder
from server.convert.plan import Outline
from server.convert.rope import Rope
from server.errors import InvalidRequest

ARCHITECTURES = ("Qwen2ForCausalLM", "Qwen2Model")

ROWS = (
    decoder.EMBEDDINGS,
    decoder.FINAL_NORM,
    decoder.OUTPUT,
    decoder.ATTENTION_NORM,
    decoder.QUERY,
    decoder.KEY,
    decoder.VALUE,
    *decoder.biases("q", "k", "v"),
    decoder.ATTENTION_OUTPUT,
    decoder.FEED_FORWARD_NORM,
    *decoder.FEED_FORWARD,
)


def outline(config: Config) -> Outline:
    decoder.check_activation(config, "silu")
    decoder.check_no_window(config, "Qwen 2")
    sizes = decoder.dimensions(config)
    if sizes["query"] != sizes["width"]:
        raise InvalidRequest("the heads of this Qwen 2 model do not add up to its width, which llama.cpp cannot run")
    keys = [*decoder.keys(config, sizes), *Rope(config).keys("linear", "yarn")]
    return Outline("qwen2", tuple(keys), sizes, ROWS)
