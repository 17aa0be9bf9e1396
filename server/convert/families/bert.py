"""BERT and what is built like it: MiniLM, BGE, GTE, E5. Makes vectors of texts."""

from __future__ import annotations

from server.convert.config import Config
from server.convert.plan import Outline, Row, count, flag, number
from server.errors import InvalidRequest

ARCHITECTURES = ("BertModel", "BertForMaskedLM")

_ATTENTION = "encoder.layer.{}.attention"
ROWS = (
    Row("embeddings.word_embeddings.weight", "token_embd.weight", ("vocabulary", "width")),
    Row("embeddings.position_embeddings.weight", "position_embd.weight", ("positions", "width"), always_f32=True),
    Row("embeddings.token_type_embeddings.weight", "token_types.weight", ("types", "width"), always_f32=True),
    Row("embeddings.LayerNorm.weight", "token_embd_norm.weight", ("width",)),
    Row("embeddings.LayerNorm.bias", "token_embd_norm.bias", ("width",)),
    *(
        Row(
            f"{_ATTENTION}.self.{long}.{kind}",
            f"blk.{{}}.attn_{short}.{kind}",
            ("width", "width")[: 1 + (kind == "weight")],
        )
        for long, short in (("query", "q"), ("key", "k"), ("value", "v"))
        for kind in ("weight", "bias")
    ),
    Row(f"{_ATTENTION}.output.dense.weight", "blk.{}.attn_output.weight", ("width", "width")),
    Row(f"{_ATTENTION}.output.dense.bias", "blk.{}.attn_output.bias", ("width",)),
    Row(f"{_ATTENTION}.output.LayerNorm.weight", "blk.{}.attn_output_norm.weight", ("width",)),
    Row(f"{_ATTENTION}.output.LayerNorm.bias", "blk.{}.attn_output_norm.bias", ("width",)),
    Row("encoder.layer.{}.intermediate.dense.weight", "blk.{}.ffn_up.weight", ("feed_forward", "width")),
    Row("encoder.layer.{}.intermediate.dense.bias", "blk.{}.ffn_up.bias", ("feed_forward",)),
    Row("encoder.layer.{}.output.dense.weight", "blk.{}.ffn_down.weight", ("width", "feed_forward")),
    Row("encoder.layer.{}.output.dense.bias", "blk.{}.ffn_down.bias", ("width",)),
    Row("encoder.layer.{}.output.LayerNorm.weight", "blk.{}.layer_output_norm.weight", ("width",)),
    Row("encoder.layer.{}.output.LayerNorm.bias", "blk.{}.layer_output_norm.bias", ("width",)),
)


def outline(config: Config) -> Outline:
    if config.get("hidden_act") not in (None, "gelu"):
        raise config.wrong("hidden_act", "gelu, which is what llama.cpp computes with")
    if config.get("position_embedding_type") not in (None, "absolute") or config.get("is_decoder"):
        raise InvalidRequest("only BERT models with absolute positions that read in both directions can be converted")
    width, heads = config.count("hidden_size"), config.count("num_attention_heads")
    if width % heads:
        raise config.wrong("num_attention_heads", f"a divisor of hidden_size ({width})")
    sizes = {
        "layers": config.count("num_hidden_layers"),
        "width": width,
        "heads": heads,
        "feed_forward": config.count("intermediate_size"),
        "positions": config.count("max_position_embeddings"),
        "types": config.count("type_vocab_size", default=2),
    }
    keys = (
        count(".block_count", sizes["layers"]),
        count(".context_length", sizes["positions"]),
        count(".embedding_length", width),
        count(".feed_forward_length", sizes["feed_forward"]),
        count(".attention.head_count", heads),
        number(".attention.layer_norm_epsilon", config.number("layer_norm_eps", default=1e-12)),
        flag(".attention.causal", False),
        count("tokenizer.ggml.token_type_count", sizes["types"]),
    )
    return Outline("bert", keys, sizes, ROWS)
