"""Models with random weights in real shapes: the speed is real, the text is noise that never ends."""

from __future__ import annotations

import dataclasses
import pathlib

import gguf
import numpy as np


@dataclasses.dataclass(frozen=True)
class Shape:
    """A llama of `layers` blocks; weights are F16."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocab: int


# The shape of the smallest models that people chat with.
HALF_BILLION = Shape("half-billion", layers=24, width=896, heads=14, kv_heads=2, feed_forward=4864, vocab=32000)
# Fewer layers, for what is compared with itself.
SMALL = Shape("small", layers=8, width=768, heads=12, kv_heads=4, feed_forward=2048, vocab=32000)


def write(path: pathlib.Path, shape: Shape, seed: int = 1) -> pathlib.Path:
    """Write the model as GGUF; the end-of-text token cannot win, so an answer is as long as asked for."""
    random = np.random.default_rng(seed)
    head = shape.width // shape.heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(shape.name)
    writer.add_context_length(8192)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(head)
    writer.add_vocab_size(shape.vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _add_tokens(writer, shape.vocab)

    def matrix(rows: int, columns: int) -> np.ndarray:
        scale = 1 / np.sqrt(columns)
        return (random.standard_normal((rows, columns), dtype=np.float32) * scale).astype(np.float16)

    output = matrix(shape.vocab, shape.width)
    output[:259] = 0  # control and byte tokens never win
    writer.add_tensor("token_embd.weight", matrix(shape.vocab, shape.width))
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(shape.width, dtype=np.float32))
    for layer in range(shape.layers):
        sizes = {
            "attn_q": (shape.width, shape.width),
            "attn_k": (shape.kv_heads * head, shape.width),
            "attn_v": (shape.kv_heads * head, shape.width),
            "attn_output": (shape.width, shape.width),
            "ffn_gate": (shape.feed_forward, shape.width),
            "ffn_up": (shape.feed_forward, shape.width),
            "ffn_down": (shape.width, shape.feed_forward),
        }
        for name, (rows, columns) in sizes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", matrix(rows, columns))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(shape.width, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokens(writer: gguf.GGUFWriter, count: int) -> None:
    kind = gguf.TokenType
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256
    tokens += [f"▁w{number}" for number in range(count - len(tokens))]
    types += [kind.NORMAL] * (count - len(types))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_scores([-float(number) for number in range(count)])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
