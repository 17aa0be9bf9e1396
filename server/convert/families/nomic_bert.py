"""Nomic's embedding models: BERT with turned positions and a gated feed-forward, without biases.

There are two spellings of the config: Nomic's own, with GPT-2's names, and the one of transformers since version 5. The
tensors in the file have Nomic's names in both.
"""

from __future__ import annotations

from server.convert.config import Config
from server.convert.plan import Outline, Row, count, flag, number
from server.errors import InvalidRequest

ARCHITECTURES = ("NomicBertModel",)
TRAINED_POSITIONS = 2048

_LAYER = "encoder.layers.{}"
ROWS = (
    Row("embeddings.word_embeddings.weight", "token_embd.weight", ("vocabulary", "width")),
    Row("embeddings.token_type_embeddings.weight", "token_types.weight", ("types", "width"), always_f32=True),
    Row("emb_ln.weight", "token_embd_norm.weight", ("width",)),
    Row("emb_ln.bias", "token_embd_norm.bias", ("width",)),
    Row(f"{_LAYER}.attn.Wqkv.weight", "blk.{}.attn_qkv.weight", ("query_key_value", "width")),
    Row(f"{_LAYER}.attn.out_proj.weight", "blk.{}.attn_output.weight", ("width", "width")),
    Row(f"{_LAYER}.norm1.weight", "blk.{}.attn_output_norm.weight", ("width",)),
    Row(f"{_LAYER}.norm1.bias", "blk.{}.attn_output_norm.bias", ("width",)),
    Row(f"{_LAYER}.mlp.fc11.weight", "blk.{}.ffn_up.weight", ("feed_forward", "width")),
    Row(f"{_LAYER}.mlp.fc12.weight", "blk.{}.ffn_gate.weight", ("feed_forward", "width")),
    Row(f"{_LAYER}.mlp.fc2.weight", "blk.{}.ffn_down.weight", ("width", "feed_forward")),
    Row(f"{_LAYER}.norm2.weight", "blk.{}.layer_output_norm.weight", ("width",)),
    Row(f"{_LAYER}.norm2.bias", "blk.{}.layer_output_norm.bias", ("width",)),
)
# What llama.cpp's code for the family does, in Nomic's own names.
_FIXED = {
    "causal": False, "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "prenorm": False,
    "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "activation_function": "swiglu", "hidden_act": "silu",
}  # fmt: skip


def outline(config: Config) -> Outline:
    if config.get("moe_every_n_layers", "num_local_experts", "num_experts"):
        raise InvalidRequest(
            "Nomic's models with experts (nomic-embed-text-v2-moe) cannot be converted; use a GGUF build of the model"
        )
    for key, wanted in _FIXED.items():
        if config.has(key) and config.get(key) != wanted:
            raise config.wrong(key, f"{str(wanted).lower()}, which is what llama.cpp computes with")
    width, heads = config.count("hidden_size", "n_embd"), config.count("num_attention_heads", "n_head")
    if width % heads:
        raise config.wrong("num_attention_heads", f"a divisor of hidden_size ({width})")
    sizes = {
        "layers": config.count("num_hidden_layers", "n_layer"),
        "width": width,
        "heads": heads,
        "feed_forward": config.count("intermediate_size", "n_inner"),
        "types": config.count("type_vocab_size", default=2),
        "query_key_value": 3 * width,
    }
    # The hub's config promises 8192 positions; trained are 2048, and longer texts need a stretching of their own.
    positions = config.count("max_trained_positions", default=TRAINED_POSITIONS)
    positions = min(positions, config.count("max_position_embeddings", "n_positions"))
    base = config.part("rope_parameters").number("rope_theta", default=config.number("rotary_emb_base", default=1000.0))
    keys = (
        count(".block_count", sizes["layers"]),
        count(".context_length", positions),
        count(".embedding_length", width),
        count(".feed_forward_length", sizes["feed_forward"]),
        count(".attention.head_count", heads),
        number(".attention.layer_norm_epsilon", config.number("layer_norm_eps", "layer_norm_epsilon", default=1e-12)),
        flag(".attention.causal", False),
        number(".rope.freq_base", base),
        count("tokenizer.ggml.token_type_count", sizes["types"]),
    )
    return Outline("nomic-bert", keys, sizes, ROWS)
