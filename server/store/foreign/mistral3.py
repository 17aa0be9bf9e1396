"""Mistral Small 3.1 and its relatives: other names for how positions are stretched, and a Pixtral inside."""

from __future__ import annotations

import msgspec

from server.errors import InvalidGguf
from server.messages.patchwork import Patch
from server.store.foreign import clip, values
from server.store.foreign.draft import Draft, Piece

_KEYS = {
    "mistral3.rope.scaling.beta_fast": "mistral3.rope.scaling.yarn_beta_fast",
    "mistral3.rope.scaling.beta_slow": "mistral3.rope.scaling.yarn_beta_slow",
    "mistral3.rope.scaling.mscale_all_dim": "mistral3.rope.scaling.yarn_log_multiplier",
    "mistral3.rope.scaling_beta": "mistral3.attention.temperature_scale",
}
_VISION = (
    ("v.patch_conv", "v.patch_embd"),
    ("v.encoder_norm", "v.pre_ln"),
    (".attn_output", ".attn_out"),
    (".attn_norm", ".ln1"),
    (".ffn_norm", ".ln2"),
    ("mm.linear_1", "mm.1"),
    ("mm.linear_2", "mm.2"),
    ("mm.norm", "mm.input_norm"),
    ("mm.patch_merger.merging_layer", "mm.patch_merger"),
)


def text(draft: Draft) -> None:
    draft.leave("v.", "mm.")
    draft.copy(_KEYS)
    if draft.header.text("tokenizer.ggml.pre") in ("", "default"):
        draft.put("tokenizer.ggml.pre", values.text("tekken"))


def projector(draft: Draft) -> None:
    heads, width = draft.number("vision.attention.head_count"), draft.number("embedding_length")
    blocks = clip.block_count(draft)
    draft.copy({
        "mistral3.spatial_merge_size": "clip.vision.spatial_merge_size",
        "mistral3.vision.rope.freq_base": "clip.rope.freq_base",
    })  # fmt: skip
    clip.begin(draft, "pixtral", clip.CLIP_COLOURS, "use_silu")
    draft.put_missing("clip.vision.attention.layer_norm_epsilon", values.f32(1e-5))
    for block in range(blocks):
        for part in "qk":
            _interleave(draft, f"v.blk.{block}.attn_{part}.weight", heads)
    draft.rename(_VISION)
    draft.widen("v.patch_embd.weight")
    # What stands behind each row of a picture: its embedding is added, and zeros change nothing.
    row_end = Piece("F32", (width,), (Patch(bytes(4 * width)),))
    draft.tensors.setdefault("v.token_embd.img_break", row_end)


def _interleave(draft: Draft, name: str, heads: int) -> None:
    """Rotary embeddings turn neighbours here, and there the n-th of one half with the n-th of the other."""
    piece = draft.tensor(name, 2)
    rows = piece.shape[1]
    if rows % (2 * heads):
        raise InvalidGguf(f"the rows of the tensor {name} are no multiple of its heads")
    half = rows // heads // 2
    order = tuple(head * 2 * half + part * half + at for head in range(heads) for at in range(half) for part in (0, 1))
    (place,) = piece.patches
    moved = msgspec.structs.replace(place, unit=place.size // rows, order=order)
    draft.tensors[name] = Piece(piece.type_name, piece.shape, (moved,))
