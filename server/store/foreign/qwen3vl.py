"""Qwen 3 VL: two keys are missing; the part that sees keeps apart what llama.cpp wants in one, and together what it
wants in two."""

from __future__ import annotations

from math import isqrt

from server.errors import InvalidGguf
from server.messages.patchwork import Patch
from server.store.foreign import clip, values
from server.store.foreign.draft import Draft, Piece
from server.store.foreign.qwen25vl import check_sections, rope_sections

_SECTIONS = (24, 20, 20, 0)
_CHANNELS = 3
_FRAMES = 2  # of a film, that are read together; a picture is shown twice
_LEAST_PIXELS, _MOST_PIXELS = 65_536, 16_777_216
_VISION = (
    ("v.merger.norm.", "v.post_ln."),
    ("v.merger.linear_fc1.", "mm.0."),
    ("v.merger.linear_fc2.", "mm.2."),
    ("v.patch_embed.bias", "v.patch_embd.bias"),
    ("v.pos_embed.", "v.position_embd."),
    (".norm1.", ".ln1."),
    (".norm2.", ".ln2."),
    (".mlp.linear_fc1.", ".ffn_up."),
    (".mlp.linear_fc2.", ".ffn_down."),
)


def text(draft: Draft) -> None:
    family = draft.header.architecture
    sections = rope_sections(draft, "rope.mrope_section") or rope_sections(draft, "mrope_sections") or _SECTIONS
    check_sections(draft, sections)
    deep = len(draft.whole_numbers("vision.deepstack_visual_indexes"))
    draft.leave("v.", "mm.")
    draft.put_missing(f"{family}.rope.dimension_sections", values.numbers(values.I32, sections))
    draft.put_missing(f"{family}.n_deepstack_layers", values.u32(deep))


def projector(draft: Draft) -> None:
    blocks = clip.block_count(draft)
    deep = draft.whole_numbers("vision.deepstack_visual_indexes")
    feed_forward = draft.tensor("v.blk.0.mlp.linear_fc1.weight", 2).shape[1]
    side = isqrt(draft.tensor("v.pos_embed.weight", 2).shape[1]) * draft.number("vision.patch_size")
    channels = draft.header.number("vision.num_channels") or _CHANNELS
    family = draft.header.architecture
    draft.copy({
        f"{family}.vision.shortest_edge": "clip.vision.image_min_pixels",
        f"{family}.vision.longest_edge": "clip.vision.image_max_pixels",
    })  # fmt: skip
    clip.begin(draft, "qwen3vl_merger", clip.HALF, "use_gelu")
    draft.put_missing("clip.vision.feed_forward_length", values.u32(feed_forward))
    draft.put_missing("clip.vision.image_size", values.u32(side))
    draft.put_missing("clip.vision.image_min_pixels", values.u32(_LEAST_PIXELS))
    draft.put_missing("clip.vision.image_max_pixels", values.u32(_MOST_PIXELS))
    seen = [index in deep for index in range(blocks)]
    draft.put("clip.vision.is_deepstack_layers", values.numbers(values.BOOL, seen))
    for block in range(blocks):
        _join_attention(draft, block)
    _split_patches(draft, channels)
    mergers = [(f"v.deepstack_merger.{number}.", f"v.deepstack.{block}.") for number, block in enumerate(deep)]
    draft.rename([*_VISION, *mergers])
    draft.rename([(".linear_fc1.", ".fc1."), (".linear_fc2.", ".fc2.")])
    draft.widen("v.position_embd.weight")


def _join_attention(draft: Draft, block: int) -> None:
    """Queries, keys and values of one layer become one matrix. They may be of different types, so all become floats."""
    for ending, dimensions in (("weight", 2), ("bias", 1)):
        names = [f"v.blk.{block}.attn_{part}.{ending}" for part in "qkv"]
        joined = f"v.blk.{block}.attn_qkv.{ending}"
        if joined in draft.tensors:
            continue
        parts = [draft.tensor(name, dimensions) for name in names]
        if len({part.shape for part in parts}) != 1:
            raise InvalidGguf(f"the tensors of {joined} have different shapes")
        if len({part.type_name for part in parts}) != 1:
            parts = [draft.widened(name, part) for name, part in zip(names, parts, strict=True)]
        for name in names:
            del draft.tensors[name]
        shape = (*parts[0].shape[:-1], 3 * parts[0].shape[-1])
        patches = tuple(patch for part in parts for patch in part.patches)
        draft.tensors[joined] = Piece(parts[0].type_name, shape, patches)


def _split_patches(draft: Draft, channels: int) -> None:
    """The filters for two frames lie together, frame by frame; each frame gets a tensor of its own."""
    name = "v.patch_embed.weight"
    piece = draft.tensors.pop(name, None)
    if piece is None:
        if "v.patch_embd.weight" in draft.tensors:
            return
        raise InvalidGguf(f"the tensor {name} is missing")
    is_one = piece.type_name in ("F16", "BF16", "F32") and len(piece.patches) == 1
    if not is_one or len(piece.shape) != 4 or piece.shape[2] != _FRAMES or piece.shape[3] % channels:
        raise InvalidGguf(f"the tensor {name} has a shape or a type that is not expected")
    width, height, _, filters = piece.shape
    place = piece.patches[0]
    plane = place.size // (_FRAMES * filters)
    for frame, target in enumerate(("v.patch_embd.weight", "v.patch_embd.weight.1")):
        order = tuple(range(frame, _FRAMES * filters, _FRAMES))
        patch = Patch(offset=place.offset, size=place.size, unit=plane, order=order)
        shape = (width, height, channels, filters // channels)
        draft.tensors[target] = draft.widened(name, Piece(piece.type_name, shape, (patch,)))
