"""Gemma 4: another name of its vocabulary, and eyes inside. What hears is left out."""

from __future__ import annotations

import struct

from server.errors import InvalidGguf
from server.messages.patchwork import Patch
from server.store.foreign import clip, values
from server.store.foreign.draft import Draft, Piece

_PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_IMAGE_SIZE = 224
_CLAMPED = ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_gate", "ffn_up", "ffn_down")
_ENDS = ("input_min", "input_max", "output_min", "output_max")
_TOGETHER = "v.clamp_data"


def text(draft: Draft) -> None:
    draft.leave("v.", "mm.", "a.", "model.vision_tower.")
    if draft.header.text("tokenizer.ggml.model") == "llama":
        draft.put("tokenizer.ggml.model", values.text("gemma4"))
    draft.rename([(".ffn_gate_inp.per_expert_scale", ".ffn_down_exps.scale")])


def projector(draft: Draft) -> None:
    blocks = clip.block_count(draft)
    draft.copy({"gemma4.vision.projector.scale_factor": "clip.vision.projector.scale_factor"})
    clip.begin(draft, "gemma4v", _PLAIN)
    draft.leave("mm.a.")
    draft.put_missing("clip.vision.image_size", values.u32(_IMAGE_SIZE))
    _spread_clamps(draft, blocks)
    draft.widen("v.patch_embd.weight")


def _spread_clamps(draft: Draft, blocks: int) -> None:
    """The ends that numbers are held between: all in one tensor there, one by one here. Four zeros are no ends."""
    together = draft.tensors.pop(_TOGETHER, None)
    if together is None:
        return
    names = [f"v.blk.{block}.{name}" for block in range(blocks) for name in _CLAMPED] + ["mm.input_projection"]
    if together.type_name != "F32" or together.shape != (len(names) * len(_ENDS),):
        raise InvalidGguf(f"the tensor {_TOGETHER} has a shape or a type that is not expected")
    (place,) = together.patches
    found = struct.iter_unpack("<4f", draft.read(place))
    for number, (name, ends) in enumerate(zip(names, found, strict=True)):
        if not any(ends):
            continue
        for at, end in enumerate(_ENDS):
            patch = Patch(offset=place.offset + 4 * (number * len(_ENDS) + at), size=4)
            draft.tensors.setdefault(f"{name}.{end}", Piece("F32", (1,), (patch,)))
