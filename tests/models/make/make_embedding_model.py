"""Write a small, real GGUF embedding model whose vectors can be worked out by hand.

The network is a one-layer llama with silent attention and a silent feed-forward
block and mean pooling, so the vector of a text is the average of its tokens'
vectors, each scaled to root mean square 1 (the output norm), and then scaled to
length 1. The tokenizer puts `<s>` in front, word order does not matter, and the
same text gives the same vector on any backend. The vocabulary is that of
make_scripted_model.py.

    python make_embedding_model.py OUT.gguf         # embedding.gguf
"""

import sys

import gguf
import numpy as np
from make_scripted_model import build_vocabulary

WIDTH = 64


def token_vectors(count: int) -> np.ndarray:
    """Return one vector a token, shape [count, WIDTH]: a sine of a frequency of its own."""
    frequency = np.arange(count)[:, None] * 7919 + 13
    return np.sin(frequency * np.arange(1, WIDTH + 1)[None] * 0.01).astype(np.float32)


def main(path: str) -> None:
    tokens, types = build_vocabulary()
    n, d, ff = len(tokens), WIDTH, 32
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("embedding")
    writer.add_context_length(512)
    writer.add_embedding_length(d)
    writer.add_block_count(1)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(64)
    writer.add_vocab_size(n)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([t.encode() for t in tokens])
    writer.add_token_scores([-float(i) for i in range(n)])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)

    silent = lambda rows, cols: np.zeros((rows, cols), dtype=np.float32)  # noqa: E731
    tensors = {
        "token_embd.weight": token_vectors(n),
        "output_norm.weight": np.ones(d, dtype=np.float32),
        "blk.0.attn_norm.weight": np.ones(d, dtype=np.float32),
        "blk.0.attn_q.weight": silent(d, d),
        "blk.0.attn_k.weight": silent(d, d),
        "blk.0.attn_v.weight": silent(d, d),
        "blk.0.attn_output.weight": silent(d, d),
        "blk.0.ffn_norm.weight": np.ones(d, dtype=np.float32),
        "blk.0.ffn_gate.weight": silent(ff, d),
        "blk.0.ffn_up.weight": silent(ff, d),
        "blk.0.ffn_down.weight": silent(d, ff),
    }
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
