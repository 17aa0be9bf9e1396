"""The parts that all projectors share: llama.cpp wants the part that sees in a file of its own."""

from __future__ import annotations

from server.errors import InvalidGguf
from server.store.foreign import values
from server.store.foreign.draft import Draft

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Mean and deviation of the colours in the pictures that CLIP was trained with.
CLIP_COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
Colours = tuple[tuple[float, float, float], tuple[float, float, float]]

_SIZES = (
    "block_count", "embedding_length", "feed_forward_length", "image_size", "patch_size", "num_channels",
    "spatial_merge_size", "window_size", "temporal_patch_size", "attention.head_count",
    "attention.layer_norm_epsilon",
)  # fmt: skip
MOST_BLOCKS = 512


def begin(draft: Draft, projector_type: str, colours: Colours, activation: str = "") -> None:
    """Keep what sees, under the keys that projectors have. `activation` is "use_gelu", "use_silu", or nothing for the
    usual one."""
    family = draft.header.architecture
    width = draft.number("embedding_length")
    draft.take("v.", "mm.")
    draft.copy({f"{family}.vision.{name}": f"clip.vision.{name}" for name in _SIZES})
    draft.copy({f"{family}.vision.image_mean": "clip.vision.image_mean"})
    draft.copy({f"{family}.vision.image_std": "clip.vision.image_std"})
    draft.keep("clip.", "general.")
    mean, deviation = colours
    draft.put_missing("clip.vision.image_mean", values.numbers(values.F32, mean))
    draft.put_missing("clip.vision.image_std", values.numbers(values.F32, deviation))
    draft.put("clip.vision.projection_dim", values.u32(width))
    draft.put("clip.has_vision_encoder", values.flag(True))
    if activation:
        draft.put(f"clip.{activation}", values.flag(True))
    draft.put("clip.projector_type", values.text(projector_type))
    draft.put("general.architecture", values.text("clip"))
    draft.put("general.type", values.text("mmproj"))


def block_count(draft: Draft) -> int:
    count = draft.number("vision.block_count")
    if count > MOST_BLOCKS:
        raise InvalidGguf(f"its vision part announces {count} layers")
    return count
