"""What the families that write text have in common: names of tensors, and keys that all of them need."""

from __future__ import annotations

from server.convert.config import Config
from server.convert.plan import Array, Key, Row, count, number
from server.convert.rope import Rope
from server.errors import InvalidRequest

MOST_LAYERS = 10_000
LARGEST_HEAD = 1 << 16

EMBEDDINGS = Row("embed_tokens.weight", "token_embd.weight", ("vocabulary", "width"))
FINAL_NORM = Row("norm.weight", "output_norm.weight", ("width",))
# Left out where the embeddings serve at the end, too.
OUTPUT = Row("lm_head.weight", "output.weight", ("vocabulary", "width"), is_optional=True)
QUERY = Row("layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", ("query", "width"))
KEY = Row("layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", ("key", "width"))
VALUE = Row("layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", ("key", "width"))
ATTENTION_OUTPUT = Row("layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", ("width", "query"))
ATTENTION_NORM = Row("layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", ("width",))
FEED_FORWARD_NORM = Row("layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", ("width",))
FEED_FORWARD = (
    Row("layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", ("feed_forward", "width")),
    Row("layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", ("feed_forward", "width")),
    Row("layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", ("width", "feed_forward")),
)
HEAD_NORMS = (
    Row("layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", ("head",)),
    Row("layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", ("head",)),
)


def biases(*parts: str, is_optional: bool = False) -> tuple[Row, ...]:
    """Of query, key and value projections, by their letters."""
    shapes = {"q": "query", "k": "key", "v": "key"}
    return tuple(
        Row(f"layers.{{}}.self_attn.{part}_proj.bias", f"blk.{{}}.attn_{part}.bias", (shapes[part],), None, is_optional)
        for part in parts
    )


def dimensions(config: Config, head: int | None = None) -> dict[str, int]:
    """`head`: values per head where the config does not say. Raises InvalidRequest for numbers that cannot be."""
    width, heads = config.count("hidden_size"), config.count("num_attention_heads")
    key_heads = config.count("num_key_value_heads", default=heads)
    if heads % key_heads:
        raise config.wrong("num_key_value_heads", f"a divisor of num_attention_heads ({heads})")
    if not config.has("head_dim") and head is None and width % heads:
        raise config.wrong("num_attention_heads", f"a divisor of hidden_size ({width})")
    head = config.count("head_dim", default=head or width // heads, largest=LARGEST_HEAD)
    if head % 2 or head > LARGEST_HEAD:
        raise config.wrong("head_dim", f"an even number up to {LARGEST_HEAD}")
    return {
        "layers": config.count("num_hidden_layers", largest=MOST_LAYERS),
        "width": width,
        "heads": heads,
        "key_heads": key_heads,
        "head": head,
        "query": heads * head,
        "key": key_heads * head,
        "feed_forward": config.count("intermediate_size"),
    }


def keys(config: Config, sizes: dict[str, int]) -> list[Key]:
    return [
        count(".block_count", sizes["layers"]),
        count(".context_length", config.count("max_position_embeddings")),
        count(".embedding_length", sizes["width"]),
        count(".feed_forward_length", sizes["feed_forward"]),
        count(".attention.head_count", sizes["heads"]),
        count(".attention.head_count_kv", sizes["key_heads"]),
        count(".attention.key_length", sizes["head"]),
        count(".attention.value_length", sizes["head"]),
        number(".attention.layer_norm_rms_epsilon", config.number("rms_norm_eps", default=1e-6)),
    ]


def llama3_constants(rope: Rope, dimensions: int) -> dict[str, Array]:
    factors = rope.llama3_factors(dimensions)
    return {} if factors is None else {"rope_freqs.weight": factors}


def check_activation(config: Config, *allowed: str) -> None:
    """Raises InvalidRequest where the model computes what llama.cpp's code for this family does not."""
    activation = config.get("hidden_activation", "hidden_act") or allowed[0]
    if activation not in allowed:
        raise InvalidRequest(f'this model uses the activation "{activation}"; its family can only use {allowed[0]}')


def check_no_window(config: Config, name: str) -> None:
    """Raises InvalidRequest where some layers see a window only, and llama.cpp's code for this family has none."""
    kinds = config.texts("layer_types")
    if config.get("use_sliding_window") or "sliding_attention" in kinds:
        raise InvalidRequest(f"this {name} model uses a sliding window, which llama.cpp does not do for its family")
