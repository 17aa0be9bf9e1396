"""Gemma 3n: its vocabulary counts pictures and sounds in, which its per-layer embeddings lack. It reads text alone."""

from __future__ import annotations

from server.store.foreign import values
from server.store.foreign.draft import Draft
from server.store.foreign.gemma3 import cut_vocabulary, without_space_prefix

_BYTE, _NORMAL = 6, 1


def text(draft: Draft) -> None:
    draft.leave("v.", "mm.", "a.")
    rows = draft.tensor("per_layer_token_embd.weight", 2).shape[1]
    draft.first_rows("token_embd.weight", rows)
    cut_vocabulary(draft, rows)
    draft.put("tokenizer.ggml.model", values.text("llama"))
    draft.put("tokenizer.ggml.token_type", values.numbers(values.I32, _token_types(draft, rows)))
    without_space_prefix(draft)


def _token_types(draft: Draft, rows: int) -> list[int]:
    """Bytes are bytes, and words without a use are words."""
    tokens = draft.header.array("tokenizer.ggml.tokens")[:rows]
    known = draft.whole_numbers("tokenizer.ggml.token_type")[:rows]
    types = known + [_NORMAL] * (len(tokens) - len(known))
    for index, token in enumerate(tokens):
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            types[index] = _BYTE
        elif token.startswith("<unused"):
            types[index] = _NORMAL
    return types
