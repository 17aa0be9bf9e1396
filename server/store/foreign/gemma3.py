"""Gemma 3, alone and with eyes, and the embedding model that was stored under its name."""

from __future__ import annotations

from math import isqrt

from server.errors import InvalidGguf
from server.store.foreign import clip, values
from server.store.foreign.draft import Draft

_LONG_CONTEXT = 131_072  # models of so much are stretched to it
_STRETCH = 8.0
_VOCABULARY = ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type")
_EMBEDDING = (
    ("dense.0.", "dense_2."),
    ("dense.1.", "dense_3."),
)
_VISION = (
    ("v.patch_embedding", "v.patch_embd"),
    ("v.position_embedding", "v.position_embd"),
    ("v.post_layernorm", "v.post_ln"),
    (".layer_norm1", ".ln1"),
    (".layer_norm2", ".ln2"),
    (".attn_output", ".attn_out"),
    (".mlp.fc1", ".ffn_up"),
    (".mlp.fc2", ".ffn_down"),
    ("mm.mm_input_projection", "mm.input_projection"),
    ("mm.mm_soft_emb_norm", "mm.soft_emb_norm"),
)


def text(draft: Draft) -> None:
    draft.leave("v.", "mm.")
    _complete(draft)
    if draft.header.number("context_length") >= _LONG_CONTEXT:
        draft.put_missing("gemma3.rope.scaling.type", values.text("linear"))
        draft.put_missing("gemma3.rope.scaling.factor", values.f32(_STRETCH))
    cut_vocabulary(draft, draft.tensor("token_embd.weight", 2).shape[1])


def embedding(draft: Draft) -> None:
    """The model that makes vectors sees both ways and ends in two more matrices."""
    width = draft.number("embedding_length")
    first, second = draft.tensor("dense.0.weight", 2), draft.tensor("dense.1.weight", 2)
    if first.shape[0] != width or second.shape[1] != width or first.shape[1] != second.shape[0]:
        raise InvalidGguf("its two dense matrices do not fit the width of its embeddings")
    _complete(draft)
    draft.become("gemma-embedding")
    draft.drop("gemma-embedding.attention.causal", "gemma-embedding.attention.sliding_window_pattern")
    for number, matrix in ((2, first), (3, second)):
        draft.put(f"gemma-embedding.dense_{number}_feat_in", values.u32(matrix.shape[0]))
        draft.put(f"gemma-embedding.dense_{number}_feat_out", values.u32(matrix.shape[1]))
    draft.rename(_EMBEDDING)
    if "norm.weight" in draft.tensors:
        draft.tensors["output_norm.weight"] = draft.tensors.pop("norm.weight")
    cut_vocabulary(draft, draft.tensor("token_embd.weight", 2).shape[1])


def _complete(draft: Draft) -> None:
    draft.copy({
        "gemma3.rope.global.freq_base": "gemma3.rope.freq_base",
        "gemma3.rope.local.freq_base": "gemma3.rope.freq_base_swa",
    })  # fmt: skip
    draft.put_missing("gemma3.attention.layer_norm_rms_epsilon", values.f32(1e-6))
    draft.put_missing("gemma3.rope.freq_base", values.f32(1e6))
    draft.put_missing("gemma3.rope.freq_base_swa", values.f32(1e4))
    without_space_prefix(draft)


def without_space_prefix(draft: Draft) -> None:
    """llama.cpp would put a space in front of each text, which these models were not trained with."""
    draft.put_missing("tokenizer.ggml.add_space_prefix", values.flag(False))


def cut_vocabulary(draft: Draft, rows: int) -> None:
    """Forget tokens that have no embedding."""
    for key in _VOCABULARY:
        draft.cut(key, rows)


def projector(draft: Draft) -> None:
    pooled = _pooled(draft)
    clip.begin(draft, "gemma3", clip.HALF, "use_gelu")
    if pooled:
        draft.put("clip.vision.projector.scale_factor", values.u32(pooled))
    draft.rename(_VISION)
    draft.widen("v.patch_embd.weight")
    draft.widen("v.position_embd.weight")


def _pooled(draft: Draft) -> int:
    """How many patches in a row become one token; 0 where the file does not say how many tokens a picture is."""
    side = isqrt(max(draft.header.number("mm.tokens_per_image"), 0))
    patches = draft.number("vision.image_size") // draft.number("vision.patch_size")
    return patches // side if side and patches % side == 0 else 0
