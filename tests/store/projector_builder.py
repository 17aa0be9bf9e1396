"""Headers of projectors with the sizes of known ones: names and shapes, no data."""

from __future__ import annotations

from typing import Any

from server.store.gguf import GgufHeader, read_header_prefix
from tests.store.gguf_builder import GgufFile, TensorEntry, tensor_bytes

ALIGNMENT = 32
F32_KIND, F16_KIND = 0, 1


def projector_file(sense: str = "vision", *, layers: int = 2, **fields: Any) -> GgufFile:
    """An encoder. `width`, `heads`, `feed_forward`, `is_gated` and `kept`, the number of layers whose results are kept,
    make its tensors; other fields are keys behind `clip.vision.` or `clip.audio.`, with dots written as `__`, and those
    that begin with `clip__` are keys as they are. None leaves a key out."""
    width, heads, feed_forward = (fields.pop(key, default) for key, default in (
        ("width", 32), ("heads", 4), ("feed_forward", 64),
    ))  # fmt: skip
    is_gated, kept = fields.pop("is_gated", False), fields.pop("kept", 0)
    prefix = f"clip.{sense}."
    metadata: dict[str, Any] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        f"clip.has_{sense}_encoder": True,
        f"{prefix}embedding_length": width,
        f"{prefix}attention.head_count": heads,
        f"{prefix}feed_forward_length": feed_forward,
        f"{prefix}block_count": layers,
        f"{prefix}projection_dim": 32,
    }
    metadata |= {"clip.vision.image_size": 28, "clip.vision.patch_size": 14} if sense == "vision" else {
        "clip.audio.num_mel_bins": 128,
    }  # fmt: skip
    for key, value in fields.items():
        dotted = key.replace("__", ".")
        metadata[dotted if dotted.startswith("clip.") else prefix + dotted] = value
    letter = sense[0]
    tensors = [TensorEntry(f"{letter}.patch_embd.weight", (14, 14, 3, width), F16_KIND)]
    for layer in range(layers):
        block = f"{letter}.blk.{layer}."
        tensors += [TensorEntry(f"{block}{name}.weight", (width, width), F16_KIND) for name in ("attn_q", "attn_out")]
        tensors.append(TensorEntry(f"{block}ffn_up.weight", (width, feed_forward), F16_KIND))
        if is_gated:
            tensors.append(TensorEntry(f"{block}ffn_gate.weight", (width, feed_forward), F16_KIND))
    tensors += [TensorEntry(f"v.deepstack.{layer}.fc2.weight", (width, 32), F16_KIND) for layer in range(kept)]
    return GgufFile([pair for pair in metadata.items() if pair[1] is not None], tensors)


def header_of(file: GgufFile) -> GgufHeader:
    """As it would be read from a whole file; its data need not exist."""
    offset = 0
    for entry in file.tensors:
        entry.offset, entry.data_bytes = offset, 0
        offset += -(-tensor_bytes(entry) // ALIGNMENT) * ALIGNMENT
    data = file.encoded()
    header = read_header_prefix(data, len(data) + ALIGNMENT + offset)
    assert header is not None
    return header
