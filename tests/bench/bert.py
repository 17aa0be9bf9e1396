"""A BERT with random weights in a real shape: an encoder without memory, whose tokenizer adds [CLS] and [SEP]."""

from __future__ import annotations

import dataclasses
import pathlib

import gguf
import numpy as np

PAD, UNKNOWN, CLS, SEP, MASK, FIRST_WORD = range(6)


@dataclasses.dataclass(frozen=True)
class BertShape:
    """Weights are F16, norms and biases F32."""

    name: str
    layers: int
    width: int
    heads: int
    feed_forward: int
    vocab: int = 30522
    context: int = 512
    pooling: gguf.PoolingType = gguf.PoolingType.MEAN


# The shape of the embedder that is asked for most.
MINI = BertShape("mini", layers=6, width=384, heads=12, feed_forward=1536)
TINY = BertShape("tiny", layers=2, width=32, heads=2, feed_forward=64, vocab=512, context=64)


def write(path: pathlib.Path, shape: BertShape, seed: int = 1) -> pathlib.Path:
    """Write the model as GGUF. Its words are `w0`, `w1`, …; all others are unknown."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name(shape.name)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(shape.pooling)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_words(writer, shape.vocab)

    def matrix(rows: int, columns: int) -> np.ndarray:
        values = random.standard_normal((rows, columns), dtype=np.float32)
        return np.asarray(values / np.sqrt(columns), dtype=np.float16)

    def add(name: str, weight: np.ndarray, bias: int) -> None:
        writer.add_tensor(f"{name}.weight", weight)
        writer.add_tensor(f"{name}.bias", random.standard_normal(bias, dtype=np.float32) * np.float32(0.02))

    ones = np.ones(shape.width, dtype=np.float32)
    writer.add_tensor("token_embd.weight", matrix(shape.vocab, shape.width))
    writer.add_tensor("token_types.weight", matrix(2, shape.width).astype(np.float32))
    writer.add_tensor("position_embd.weight", matrix(shape.context, shape.width).astype(np.float32))
    add("token_embd_norm", ones, shape.width)
    for layer in range(shape.layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{name}", matrix(shape.width, shape.width), shape.width)
        add(f"blk.{layer}.ffn_up", matrix(shape.feed_forward, shape.width), shape.feed_forward)
        add(f"blk.{layer}.ffn_down", matrix(shape.width, shape.feed_forward), shape.width)
        for name in ("attn_output_norm", "layer_output_norm"):
            add(f"blk.{layer}.{name}", ones, shape.width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_words(writer: gguf.GGUFWriter, count: int) -> None:
    kind = gguf.TokenType
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    types = [kind.CONTROL, kind.UNKNOWN, kind.CONTROL, kind.CONTROL, kind.CONTROL]
    tokens += [f"▁w{number}" for number in range(count - len(tokens))]
    types += [kind.NORMAL] * (count - len(types))
    writer.add_tokenizer_model("bert")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_types(types)
    writer.add_token_type_count(2)
    writer.add_pad_token_id(PAD)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(CLS)
    writer.add_sep_token_id(SEP)
    writer.add_mask_token_id(MASK)
    writer.add_vocab_size(count)
