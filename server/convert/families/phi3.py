"""Phi-3, 3.5 and 4: query, key and value in one tensor, and positions stretched by a list of factors."""

from __future__ import annotations

from server.convert.config import Config
from server.convert.families import decoder
from server.convert.plan import Array, Outline, Row, count, number, text
from server.convert.rope import Rope
from server.errors import InvalidRequest

ARCHITECTURES = ("Phi3ForCausalLM", "Phi3Model")

ROWS = (
    decoder.EMBEDDINGS,
    decoder.FINAL_NORM,
    decoder.OUTPUT,
    decoder.ATTENTION_NORM,
    Row("layers.{}.self_attn.qkv_proj.weight", "blk.{}.attn_qkv.weight", ("query_key_value", "width")),
    decoder.ATTENTION_OUTPUT,
    decoder.FEED_FORWARD_NORM,
    Row("layers.{}.mlp.gate_up_proj.weight", "blk.{}.ffn_up.weight", ("gate_and_up", "width")),
    Row("layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", ("width", "feed_forward")),
)


def outline(config: Config) -> Outline:
    decoder.check_activation(config, "silu")
    sizes = decoder.dimensions(config)
    if sizes["query"] != sizes["width"]:
        raise InvalidRequest("the heads of this Phi-3 model do not add up to its width, which llama.cpp cannot run")
    sizes |= {
        "query_key_value": sizes["query"] + 2 * sizes["key"],
        "gate_and_up": 2 * sizes["feed_forward"],
    }
    rope = Rope(config)
    turned = int(rope.share * sizes["head"])
    keys = [
        *decoder.keys(config, sizes),
        count(".rope.dimension_count", turned),
        count(".rope.scaling.original_context_length", rope.original_context),
        *rope.keys("longrope", may_be_partial=True),
    ]
    constants: dict[str, Array] = {}
    if rope.kind == "longrope":
        factors = rope.long_factors(turned)
        constants = dict(zip(("rope_factors_long.weight", "rope_factors_short.weight"), factors, strict=True))
        keys += [text(".rope.scaling.type", "longrope"), number(".rope.scaling.attn_factor", rope.attention_factor())]
    return Outline("phi3", tuple(keys), sizes, ROWS, constants, _notes(config))


def _notes(config: Config) -> tuple[str, ...]:
    positions = config.count("max_position_embeddings")
    window = config.count("sliding_window", default=positions)
    if window >= positions - 1:
        return ()
    note = "this model looks back over {0} tokens and llama.cpp over all of them; answers are the same up to {0} tokens"
    return (note.format(window),)
