"""Qwen 2.5 VL: llama.cpp runs it as the generation before it, with other windows in the part that sees."""

from __future__ import annotations

from collections.abc import Sequence

from server.errors import InvalidGguf
from server.store.foreign import clip, values
from server.store.foreign.draft import Draft
from server.store.gguf_numbers import numbers

SECTIONS = 4
_IMAGE_SIZE = 560  # of a default picture; any size is read
_FULL_EVERY = 8
_VISION = (
    ("v.merger.ln_q.", "v.post_ln."),
    ("v.merger.mlp.", "mm."),
    ("v.patch_embd_0.weight", "v.patch_embd.weight"),
    ("v.patch_embd_1.weight", "v.patch_embd.weight.1"),
)


def text(draft: Draft) -> None:
    sections = rope_sections(draft, "rope.mrope_section")
    draft.leave("v.", "mm.")
    draft.become("qwen2vl")
    check_sections(draft, sections)
    if sections:
        draft.put("qwen2vl.rope.dimension_sections", values.numbers(values.I32, sections))
    elif "qwen2vl.rope.dimension_sections" not in draft.pairs:
        raise InvalidGguf("the key qwen25vl.rope.mrope_section is missing")


def rope_sections(draft: Draft, key: str) -> list[int]:
    """The parts of a rotary embedding for time, rows and columns, and none for a fourth; [] where nothing is said."""
    found = draft.whole_numbers(key)
    if found and not 3 <= len(found) <= SECTIONS:
        raise InvalidGguf(f"the key {draft.header.architecture}.{key} has {len(found)} numbers instead of 3")
    return [*found, 0][:SECTIONS] if found else []


def check_sections(draft: Draft, sections: Sequence[int]) -> None:
    """llama.cpp ends its process where they do not fit."""
    header = draft.header
    heads = max(numbers(header.get("attention.head_count")), default=0)
    head = header.number("attention.key_length") or (header.number("embedding_length") // heads if heads > 0 else 0)
    if sum(sections) > head:
        raise InvalidGguf("the sections of its rotary embedding are larger than an attention head")


def projector(draft: Draft) -> None:
    full = draft.whole_numbers("vision.fullatt_block_indexes")
    feed_forward = draft.tensor("v.blk.0.ffn_up.weight", 2).shape[1]
    clip.begin(draft, "qwen2.5vl_merger", clip.CLIP_COLOURS, "use_silu")
    draft.put_missing("clip.vision.feed_forward_length", values.u32(feed_forward))
    draft.put_missing("clip.vision.image_size", values.u32(_IMAGE_SIZE))
    draft.put("clip.vision.n_wa_pattern", values.u32(full[0] + 1 if full else _FULL_EVERY))
    draft.rename(_VISION)
    draft.widen("v.patch_embd.weight")
    draft.widen("v.patch_embd.weight.1")
