"""Write a small, real GGUF reranking model: one BERT layer with random weights and a classifier with one output.

Its scores mean nothing, but they are those of this file: other words, or the same in another order, give another one.
The vocabulary has the letters and a few words.

    python make_rerank_model.py OUT.gguf            # rerank.gguf
"""

import string
import sys

import gguf
import numpy as np

WIDTH, INNER, LENGTH, SEED = 32, 64, 128, 7
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["what", "is", "a", "panda", "bear", "hi", "it", "the", "giant", "from", "china", "sky", "blue"]


def main(path: str) -> None:
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    whole = [f"\u2581{text}" for text in dict.fromkeys([*WORDS, *letters])]
    tokens = [*SPECIAL, *whole, *letters]
    kind = gguf.TokenType
    types = [kind.CONTROL, kind.UNKNOWN, kind.CONTROL, kind.CONTROL, kind.CONTROL] + [kind.NORMAL] * (
        len(tokens) - len(SPECIAL)
    )
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("rerank")
    writer.add_context_length(LENGTH)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(2)
    writer.add_token_list([text.encode() for text in tokens])
    writer.add_token_types(types)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)

    numbers = np.random.default_rng(SEED)
    random = lambda *shape: numbers.normal(0, 0.3, shape).astype(np.float32)  # noqa: E731
    shapes = {
        "token_embd": (len(tokens), WIDTH),
        "token_types": (2, WIDTH),
        "position_embd": (LENGTH, WIDTH),
        **{f"blk.0.{name}": (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")},
        "blk.0.ffn_up": (INNER, WIDTH),
        "blk.0.ffn_down": (WIDTH, INNER),
        "cls": (WIDTH, WIDTH),
        "cls.output": (1, WIDTH),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random(*shape))
        if name.startswith(("blk", "cls")):
            writer.add_tensor(f"{name}.bias", random(shape[0]))
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
