"""From the header of a projector to the sizes that decide its memory.

How large an image may be is written in llama.cpp, kind by kind, and partly in the file. While it loads, llama.cpp makes
room for an image of a common size; the largest one takes more, once it comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from server.errors import InvalidGguf
from server.messages.models import EncoderShape, ProjectorShape
from server.store.gguf import GgufHeader
from server.store.gguf_numbers import bounded

LEGACY_KIND = "mlp"  # of files that do not say: the first ones were made for LLaVA
MAX_SIDE = 8192  # pixels; llama.cpp refuses more
MAX_POSITIONS = 2**20  # what follows from absurd numbers stays a number
MAX_HEADS = 4096
SOUND_FRAMES = 3000  # that llama.cpp makes room for when it loads: 30 seconds
FRAMES_PER_STEP = 2
KEPT = "v.deepstack."


class _Sized(NamedTuple):
    """A kind that takes images of any size: the tokens that room is made for at first, the most (0 for an image as
    wide and high as the file says), how many patches a side of a token has where the file does not say, and whether
    the file may limit the pixels."""

    first: int
    most: int
    merge: int = 1
    is_limited: bool = False


_SIZED = {
    "phi4": _Sized(256, 0, 1, is_limited=True), "pixtral": _Sized(256, 1024), "lightonocr": _Sized(256, 0),
    "dots_ocr": _Sized(2116, 0, 1, is_limited=True), "dots3note_v": _Sized(2116, 0, 1, is_limited=True),
    "kimivl": _Sized(256, 1024), "kimik25": _Sized(4096, 4096, 1, is_limited=True), "deepseek4v": _Sized(256, 384),
    "gemma4v": _Sized(256, 1120, 3), "gemma4uv": _Sized(256, 1120, 3), "qwen2vl_merger": _Sized(2116, 4096, 2),
    "qwen2.5vl_merger": _Sized(2116, 4096, 2), "qwen2.5o": _Sized(2116, 4096, 2),
    "qwen3vl_merger": _Sized(2116, 4096, 2), "ling3vl": _Sized(2116, 4096, 2), "minimax_m3": _Sized(256, 576, 2),
    "muse-glimmer": _Sized(1024, 4096, 2), "mimovl": _Sized(2116, 0, 2, is_limited=True),
    "youtuvl": _Sized(256, 62500, 2), "glm4v": _Sized(2116, 4096, 2), "glm5v": _Sized(2116, 0, 2, is_limited=True),
    "paddleocr": _Sized(784, 0, 2, is_limited=True), "hunyuanvl": _Sized(1024, 16384, 2, is_limited=True),
    "exaone4_5": _Sized(2116, 0, 2, is_limited=True), "lfm2": _Sized(256, 256, 1),
}  # fmt: skip
_MERGES = {"gemma3": 4}  # of kinds with images of one size
_WHOLE = frozenset({"gemma3", "gemma4v", "gemma4uv", "deepseek4v"})  # whose image tokens see each other
_CAUSAL_GEMMA4 = frozenset({1536, 2560})  # text widths of the small ones, which read an image as they read text


@lru_cache(maxsize=16)  # it is asked for with every request
def projector_shape(header: GgufHeader, text_width: int) -> ProjectorShape:
    """`text_width`: the embedding length of the model that it belongs to. Raises InvalidGguf for a file that llama.cpp
    cannot use as a projector."""
    if header.version == 1 or header.big_endian:
        raise InvalidGguf("its projector is of a kind of GGUF that llama.cpp does not load; get a newer build of it")
    encoders = tuple(_encoder(header, sense, text_width) for sense in _senses(header))
    if not encoders:
        raise InvalidGguf("its projector has no encoder for images or sounds")
    if not all(encoder.embedding_length > 0 and encoder.positions > 0 for encoder in encoders):
        raise InvalidGguf("its projector does not say how large images are, or how wide it is")
    return ProjectorShape(weights_bytes=sum(tensor.size for tensor in header.tensors), encoders=encoders)


def _senses(header: GgufHeader) -> Iterator[str]:
    """Those that llama.cpp loads."""
    if header.flag("has_vision_encoder"):
        yield "vision"
    if header.flag("has_audio_encoder") and kind_of(header, "vision") != "gemma3nv":
        yield "audio"


def kind_of(header: GgufHeader, sense: str) -> str:
    return header.text("projector_type") or header.text(f"{sense}.projector_type") or LEGACY_KIND


def _encoder(header: GgufHeader, sense: str, text_width: int) -> EncoderShape:
    prefix = sense[0]
    all_of = [tensor for tensor in header.tensors if tensor.name.startswith(f"{prefix}.")]
    tensors = {tensor.name: tensor for tensor in all_of}
    embedding = bounded(header.number(f"{sense}.embedding_length"))
    up = tensors.get(f"{prefix}.blk.0.ffn_up.weight")
    has_layers = header.number(f"{sense}.block_count") > 0
    kind = kind_of(header, sense)
    size = _sound_size(header) if sense == "audio" else _image_size(header, kind)
    return EncoderShape(
        sense="audio" if sense == "audio" else "vision",
        kind=kind,
        positions=min(size.positions, MAX_POSITIONS),
        most_positions=min(max(size.positions, size.most_positions), MAX_POSITIONS),
        position_inputs=size.inputs,
        embedding_length=embedding,
        head_count=min(bounded(header.number(f"{sense}.attention.head_count")), MAX_HEADS) if has_layers else 0,
        feed_forward=up.elements // embedding if up and embedding else 0,
        is_gated=f"{prefix}.blk.0.ffn_gate.weight" in tensors,
        has_mask=header.number(f"{sense}.n_wa_pattern") > 0,
        projection_length=bounded(header.number(f"{sense}.projection_dim")),
        kept_outputs=sum(tensor.name.startswith(KEPT) and tensor.name.endswith(".fc2.weight") for tensor in all_of),
        image_tokens=size.tokens,
        is_whole=kind in _WHOLE and not (kind == "gemma4v" and text_width in _CAUSAL_GEMMA4),
    )


class _Size(NamedTuple):
    """Of an image or a sound, in an encoder's positions; `tokens` of the largest image, `inputs` per position."""

    positions: int
    most_positions: int
    inputs: int
    tokens: int = 0


def _sound_size(header: GgufHeader) -> _Size:
    steps = SOUND_FRAMES // FRAMES_PER_STEP
    return _Size(steps, steps, FRAMES_PER_STEP * bounded(header.number("audio.num_mel_bins")))


def _image_size(header: GgufHeader, kind: str) -> _Size:
    sized = _SIZED.get(kind)
    patch = bounded(header.number("vision.patch_size"))
    side = min(bounded(header.number("vision.image_size")), MAX_SIDE)
    said = header.number("vision.spatial_merge_size") or header.number("vision.projector.scale_factor")
    merge = bounded(said) or (sized.merge if sized else _MERGES.get(kind, 1))
    if not 0 < patch <= MAX_SIDE:
        return _Size(0, 0, 0)
    if kind == "gemma4uv":  # it merges while it cuts the patches out
        patch, merge = patch * merge, 1
    inputs = 3 * patch * patch
    if sized is None:
        patches = (side // patch) ** 2
        return _Size(patches, patches, inputs, patches // merge**2)
    limit = min(header.number("vision.image_max_pixels"), MAX_SIDE**2) if sized.is_limited else 0
    most = max(limit, 0) // (patch * merge) ** 2 or sized.most or (side // (patch * merge)) ** 2
    first = most if kind == "kimik25" else sized.first
    return _Size(first * merge**2, most * merge**2, inputs, most)
