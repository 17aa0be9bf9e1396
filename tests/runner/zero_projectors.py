"""Projectors whose weights are all zero, with the sizes of real ones; see zero_models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.runner.zero_models import SparseFile

PATCH = 14
MEL_BINS = 128
SOUND_STEPS = 1500
STACKED = 8


@dataclass(frozen=True)
class ZeroProjector:
    """`kind` is one of mlp, gemma3 and ultravox, which hears. `side`: of an image, in pixels."""

    kind: str
    width: int
    heads: int
    feed_forward: int
    side: int = 0
    layers: int = 2


def write_projector(path: Path, projector: ZeroProjector, text_width: int) -> Path:
    file = SparseFile(path, "clip")
    sense = "audio" if projector.kind == "ultravox" else "vision"
    _add_keys(file, projector, sense, text_width)
    if sense == "audio":
        _add_ear(file, projector.width, text_width)
    else:
        _add_eye(file, projector, text_width)
    for layer in range(projector.layers):
        _add_layer(file, f"{sense[0]}.blk.{layer}.", projector, has_key_bias=sense == "vision")
    file.close()
    return path


def _add_keys(file: SparseFile, projector: ZeroProjector, sense: str, text_width: int) -> None:
    writer, prefix = file.writer, f"clip.{sense}."
    writer.add_string("clip.projector_type", projector.kind)
    writer.add_bool(f"clip.has_{sense}_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    numbers = {
        "embedding_length": projector.width, "attention.head_count": projector.heads, "projection_dim": text_width,
        "feed_forward_length": projector.feed_forward, "block_count": projector.layers,
    }  # fmt: skip
    if sense == "vision":
        numbers |= {"image_size": projector.side, "patch_size": PATCH}
        writer.add_array("clip.vision.image_mean", [0.5] * 3)
        writer.add_array("clip.vision.image_std", [0.5] * 3)
    else:
        numbers |= {"num_mel_bins": MEL_BINS, "projector.stack_factor": STACKED}
    for key, number in numbers.items():
        writer.add_uint32(prefix + key, number)
    writer.add_float32(f"{prefix}attention.layer_norm_epsilon", 1e-6)


def _add_eye(file: SparseFile, projector: ZeroProjector, text_width: int) -> None:
    width, patches = projector.width, (projector.side // PATCH) ** 2
    file.tensor("v.patch_embd.weight", (PATCH, PATCH, 3, width), "F16")
    if projector.kind == "mlp":
        file.tensor("v.class_embd", (width,))
        file.tensor("v.position_embd.weight", (width, patches + 1))
        for name, inputs in (("mm.0", width), ("mm.2", text_width)):
            file.tensor(f"{name}.weight", (inputs, text_width), "F16")
            file.tensor(f"{name}.bias", (text_width,))
        return
    file.tensor("v.patch_embd.bias", (width,))
    file.tensor("v.position_embd.weight", (width, patches))
    for name in ("v.post_ln.weight", "v.post_ln.bias", "mm.soft_emb_norm.weight"):
        file.tensor(name, (width,))
    file.tensor("mm.input_projection.weight", (text_width, width), "F16")


def _add_ear(file: SparseFile, width: int, text_width: int) -> None:
    for number, inputs in ((1, MEL_BINS), (2, width)):
        file.tensor(f"a.conv1d.{number}.weight", (3, inputs, width), "F16")
        file.tensor(f"a.conv1d.{number}.bias", (1, width))
    file.tensor("a.position_embd.weight", (width, SOUND_STEPS))
    for name in ("a.post_ln.weight", "a.post_ln.bias"):
        file.tensor(name, (width,))
    file.tensor("mm.a.mlp.1.weight", (STACKED * width, text_width), "F16")
    file.tensor("mm.a.mlp.2.weight", (text_width // 2, text_width), "F16")
    file.tensor("mm.a.norm_pre.weight", (STACKED * width,))
    file.tensor("mm.a.norm_mid.weight", (text_width // 2,))


def _add_layer(file: SparseFile, block: str, projector: ZeroProjector, *, has_key_bias: bool) -> None:
    width, feed_forward = projector.width, projector.feed_forward
    shapes = {name: (width, width) for name in ("attn_q", "attn_k", "attn_v", "attn_out")}
    shapes |= {"ffn_up": (width, feed_forward), "ffn_down": (feed_forward, width)}
    for name, shape in shapes.items():
        file.tensor(f"{block}{name}.weight", shape, "F16")
        if has_key_bias or name != "attn_k":
            file.tensor(f"{block}{name}.bias", shape[1:])
    for name in ("ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias"):
        file.tensor(block + name, (width,))
