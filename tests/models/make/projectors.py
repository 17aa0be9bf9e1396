"""Pairs of a text model and a projector with random weights, one of every kind that llama.cpp treats in its own way.

They answer nonsense, but always the same nonsense, and what stands in an image or a sound decides it; so they show
whether an engine gives the model exactly what llama.cpp gives it. `write(folder, kind)` takes 20 ms and 3 MB of disk.

    python projectors.py FOLDER KIND...
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np

WIDTH, FEED_FORWARD, HEADS, KV_HEADS, HEAD = 128, 192, 2, 1, 64
EYE, EYE_HEADS, EYE_FEED_FORWARD, EYE_LAYERS = 32, 1, 48, 2
EPSILON = 1e-5
MEL_BINS, FRAMES = 16, 1500  # a window of Whisper is 30 s, however short the sound

CONTROL = [
    "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>",
    "<start_of_image>", "<end_of_image>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<image>", "</image>", "<slice>", "</slice>", "<fake_token_around_image>", "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)),
    "<|audio_bos|>", "<|audio_eos|>",
]  # fmt: skip

CHAT_TEMPLATE = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['content'] is string %}{{ message['content'] }}
{%- else %}
{%- for part in message['content'] or [] %}{{ part['text'] if part['type'] == 'text' else '' }}{%- endfor %}
{%- endif %}{{ '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


class Pair(NamedTuple):
    model: Path
    projector: Path


Values = dict[str, Any]
Tensors = dict[str, np.ndarray]


class Draw:
    """Random weights, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def __call__(self, *shape: int, scale: float | None = None) -> np.ndarray:
        """Normal values; without `scale` such that a product keeps the size of what it is given."""
        fan_in = int(np.prod(shape[1:]))
        spread = fan_in**-0.5 if scale is None else scale
        return (self.generator.standard_normal(shape) * spread).astype(np.float32)

    def norm(self, width: int) -> np.ndarray:
        return (1 + self.generator.standard_normal(width) * 0.1).astype(np.float32)


# ---- text models -----------------------------------------------------------------------------------------------------


def vocabulary() -> tuple[list[str], list[int]]:
    kind = gguf.TokenType
    characters = ["\u2581", *(chr(code) for code in range(33, 127))]
    tokens = ["<unk>", *CONTROL, *(f"<0x{byte:02X}>" for byte in range(256)), *characters, "\n\n"]
    types = [kind.UNKNOWN] + [kind.CONTROL] * len(CONTROL) + [kind.BYTE] * 256
    types += [kind.NORMAL] * len(characters) + [kind.USER_DEFINED]
    while len(tokens) % 32:
        tokens.append(f"<|unused{len(tokens)}|>")
        types.append(kind.UNUSED)
    return tokens, types


def text_model(draw: Draw, architecture: str) -> tuple[Values, Tensors]:
    """The keys without the architecture before them, and the tensors."""
    layers = 6 if architecture == "gemma3" else 2  # of Gemma's every sixth sees all, the others what is near
    values: Values = {
        "context_length": 4096, "embedding_length": WIDTH, "block_count": layers, "feed_forward_length": FEED_FORWARD,
        "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "attention.key_length": HEAD,
        "attention.value_length": HEAD, "rope.dimension_count": HEAD,
        "attention.layer_norm_rms_epsilon": EPSILON, "rope.freq_base": 10000.0,
    }  # fmt: skip
    if architecture == "gemma3":
        values["attention.sliding_window"] = 64
    if architecture in ("qwen2vl", "qwen3vl"):
        values["rope.dimension_sections"] = [8, 12, 12, 0]
    if architecture == "qwen3vl":
        values["n_deepstack_layers"] = 1
    types = np.array(vocabulary()[1])
    values["vocab_size"] = len(types)
    # Gemma multiplies the embeddings of its words, but not those of images, by the root of their width
    spread = WIDTH**-0.5 if architecture == "gemma3" else 1.0
    # an output of its own: with the embeddings as output a model of random weights says its last token again;
    # it says characters only, so that an answer has as many tokens as were asked for, and is text
    output = draw(len(types), WIDTH, scale=0.3) * (types == gguf.TokenType.NORMAL)[:, None]
    tensors = {
        "token_embd.weight": draw(len(types), WIDTH, scale=spread), "output.weight": output.astype(np.float32),
        "output_norm.weight": draw.norm(WIDTH),
    }  # fmt: skip
    for number in range(layers):
        here = f"blk.{number}"
        tensors |= {
            f"{here}.attn_norm.weight": draw.norm(WIDTH), f"{here}.ffn_norm.weight": draw.norm(WIDTH),
            # sharp attention: an average over all tokens would hardly tell one image from another
            f"{here}.attn_q.weight": draw(HEADS * HEAD, WIDTH, scale=0.25),
            f"{here}.attn_k.weight": draw(KV_HEADS * HEAD, WIDTH, scale=0.15),
            f"{here}.attn_v.weight": draw(KV_HEADS * HEAD, WIDTH),
            f"{here}.attn_output.weight": draw(WIDTH, HEADS * HEAD),
            f"{here}.ffn_gate.weight": draw(FEED_FORWARD, WIDTH), f"{here}.ffn_up.weight": draw(FEED_FORWARD, WIDTH),
            f"{here}.ffn_down.weight": draw(WIDTH, FEED_FORWARD),
        }  # fmt: skip
        if architecture == "qwen2vl":
            tensors |= {f"{here}.attn_{name}.bias": draw(width, scale=0.1)
                        for name, width in (("q", HEADS * HEAD), ("k", KV_HEADS * HEAD), ("v", KV_HEADS * HEAD))}  # fmt: skip
        if architecture in ("qwen3vl", "gemma3"):
            tensors |= {f"{here}.attn_{name}_norm.weight": draw.norm(HEAD) for name in "qk"}
        if architecture == "gemma3":
            tensors |= {f"{here}.post_{name}_norm.weight": draw.norm(WIDTH) for name in ("attention", "ffw")}
    return values, tensors


# ---- projectors ------------------------------------------------------------------------------------------------------


def encoder(draw: Draw, prefix: str, *, separate: bool = True, key_bias: bool = True) -> Tensors:
    """The layers that nearly all have; `separate`: three matrices for attention, not one."""
    tensors: Tensors = {}
    for number in range(EYE_LAYERS):
        here = f"{prefix}.blk.{number}"
        for name in ("ln1", "ln2"):
            tensors |= {f"{here}.{name}.weight": draw.norm(EYE), f"{here}.{name}.bias": draw(EYE, scale=0.1)}
        if separate:
            for name in "qkv":
                tensors[f"{here}.attn_{name}.weight"] = draw(EYE, EYE)
                if name != "k" or key_bias:
                    tensors[f"{here}.attn_{name}.bias"] = draw(EYE, scale=0.1)
        else:
            tensors |= {
                f"{here}.attn_qkv.weight": draw(3 * EYE, EYE),
                f"{here}.attn_qkv.bias": draw(3 * EYE, scale=0.1),
            }
        tensors |= {
            f"{here}.attn_out.weight": draw(EYE, EYE), f"{here}.attn_out.bias": draw(EYE, scale=0.1),
            f"{here}.ffn_up.weight": draw(EYE_FEED_FORWARD, EYE), f"{here}.ffn_up.bias": draw(EYE_FEED_FORWARD, scale=0.1),
            f"{here}.ffn_down.weight": draw(EYE, EYE_FEED_FORWARD), f"{here}.ffn_down.bias": draw(EYE, scale=0.1),
        }  # fmt: skip
    return tensors | {f"{prefix}.post_ln.weight": draw.norm(EYE), f"{prefix}.post_ln.bias": draw(EYE, scale=0.1)}


def settings(prefix: str) -> Values:
    return {
        f"clip.has_{prefix}_encoder": True, f"clip.{prefix}.embedding_length": EYE,
        f"clip.{prefix}.feed_forward_length": EYE_FEED_FORWARD, f"clip.{prefix}.block_count": EYE_LAYERS,
        f"clip.{prefix}.attention.head_count": EYE_HEADS, f"clip.{prefix}.attention.layer_norm_epsilon": EPSILON,
        f"clip.{prefix}.projection_dim": WIDTH,
    }  # fmt: skip


def eye(draw: Draw, kind: str, side: int, patch: int, places: int) -> tuple[Values, Tensors]:
    """`side` and `patch` in pixels; `places`: how many positions are known."""
    values = settings("vision") | {
        "clip.vision.projector_type": kind, "clip.use_gelu": True, "clip.vision.image_size": side,
        "clip.vision.patch_size": patch, "clip.vision.image_mean": [0.5] * 3, "clip.vision.image_std": [0.25] * 3,
    }  # fmt: skip
    tensors = {"v.patch_embd.weight": draw(EYE, 3, patch, patch), "v.patch_embd.bias": draw(EYE, scale=0.1)}
    if places:
        tensors["v.position_embd.weight"] = draw(places, EYE, scale=0.5)
    return values, tensors


def llava(draw: Draw) -> tuple[Values, Tensors]:
    """16 tokens an image, and nothing around them; the last layer is left out."""
    values, tensors = eye(draw, "mlp", 32, 8, 16)
    tensors |= encoder(draw, "v") | {
        "mm.0.weight": draw(64, EYE), "mm.0.bias": draw(64, scale=0.1),
        "mm.2.weight": draw(WIDTH, 64, scale=0.3), "mm.2.bias": draw(WIDTH, scale=0.3),
    }  # fmt: skip
    return values, tensors


def gemma3(draw: Draw) -> tuple[Values, Tensors]:
    """16 tokens an image that see one another in both directions."""
    values, tensors = eye(draw, "gemma3", 32, 4, 64)
    values["clip.vision.projector.scale_factor"] = 2
    tensors |= encoder(draw, "v") | {
        "mm.input_projection.weight": draw(EYE, WIDTH, scale=0.2), "mm.soft_emb_norm.weight": draw.norm(EYE),
    }  # fmt: skip
    return values, tensors


def qwen2vl(draw: Draw) -> tuple[Values, Tensors]:
    """As many tokens as an image is large, 8 at least, on a grid: an image is as many positions as it has columns or
    rows."""
    values, tensors = eye(draw, "qwen2vl_merger", 64, 8, 0)
    del tensors["v.patch_embd.bias"]
    tensors |= encoder(draw, "v") | {"v.patch_embd.weight.1": draw(EYE, 3, 8, 8)} | _merger(draw)
    return values, tensors


def qwen25vl(draw: Draw) -> tuple[Values, Tensors]:
    """As qwen2vl; every second layer sees no farther than a window."""
    values, tensors = qwen2vl(draw)
    values |= {"clip.vision.projector_type": "qwen2.5vl_merger", "clip.vision.n_wa_pattern": 2}
    return values, {name: data for name, data in tensors.items() if ".ln" not in name or not name.endswith(".bias")}


def qwen3vl(draw: Draw) -> tuple[Values, Tensors]:
    """As qwen2vl; an embedding is twice as wide, and the second half goes in behind the first layer of the text model."""
    values, tensors = eye(draw, "qwen3vl_merger", 64, 8, 64)
    tensors |= encoder(draw, "v", separate=False) | {"v.patch_embd.weight.1": draw(EYE, 3, 8, 8)} | _merger(draw)
    tensors |= {
        "v.deepstack.0.norm.weight": draw.norm(4 * EYE), "v.deepstack.0.norm.bias": draw(4 * EYE, scale=0.1),
        "v.deepstack.0.fc1.weight": draw(64, 4 * EYE), "v.deepstack.0.fc1.bias": draw(64, scale=0.1),
        "v.deepstack.0.fc2.weight": draw(WIDTH, 64, scale=0.3), "v.deepstack.0.fc2.bias": draw(WIDTH, scale=0.3),
    }  # fmt: skip
    values["clip.vision.is_deepstack_layers"] = [True, False]
    return values, tensors


def _merger(draw: Draw) -> Tensors:
    return {
        "mm.0.weight": draw(64, 4 * EYE), "mm.0.bias": draw(64, scale=0.1),
        "mm.2.weight": draw(WIDTH, 64, scale=0.3), "mm.2.bias": draw(WIDTH, scale=0.3),
    }  # fmt: skip


def minicpmv(draw: Draw) -> tuple[Values, Tensors]:
    """Four tokens for the whole image and four for each part of one larger than 32 pixels, with words in between."""
    values, tensors = eye(draw, "resampler", 32, 8, 70 * 70)
    values |= {"clip.minicpmv_version": np.int32(3), "clip.minicpmv_query_num": 4}
    tensors |= encoder(draw, "v") | {
        "resampler.pos_embed_k": draw(1, WIDTH), "resampler.query": draw(4, WIDTH, scale=1.0),
        "resampler.proj.weight": draw(WIDTH, WIDTH), "resampler.kv.weight": draw(WIDTH, EYE),
    }  # fmt: skip
    for name in ("q", "k", "v", "out"):
        tensors[f"resampler.attn.{name}.weight"] = draw(WIDTH, WIDTH)
        tensors[f"resampler.attn.{name}.bias"] = draw(WIDTH, scale=0.1)
    for name in ("q", "kv", "post"):
        tensors |= {
            f"resampler.ln_{name}.weight": draw.norm(WIDTH),
            f"resampler.ln_{name}.bias": draw(WIDTH, scale=0.1),
        }
    return values, tensors


def idefics3(draw: Draw) -> tuple[Values, Tensors]:
    """An image becomes 64 pixels long, and is cut into squares of 32 with four tokens each; the whole comes last."""
    values, tensors = eye(draw, "idefics3", 32, 8, 16)
    values |= {"clip.vision.projector.scale_factor": 2, "clip.vision.preproc_image_size": 64}
    return values, tensors | encoder(draw, "v") | {"mm.model.fc.weight": draw(WIDTH, 4 * EYE, scale=0.2)}


def ear(draw: Draw, kind: str) -> tuple[Values, Tensors]:
    values = settings("audio") | {"clip.audio.projector_type": kind, "clip.audio.num_mel_bins": MEL_BINS}
    tensors = encoder(draw, "a", key_bias=False) | {
        "a.position_embd.weight": draw(FRAMES, EYE, scale=0.1),
        "a.conv1d.1.weight": draw(EYE, MEL_BINS, 3, scale=0.6), "a.conv1d.1.bias": draw(EYE, 1, scale=0.1),
        "a.conv1d.2.weight": draw(EYE, EYE, 3), "a.conv1d.2.bias": draw(EYE, 1, scale=0.1),
    }  # fmt: skip
    return values, tensors


def ultravox(draw: Draw) -> tuple[Values, Tensors]:
    """30 tokens for every 30 seconds begun, and nothing around them."""
    stack = 50
    values, tensors = ear(draw, "ultravox")
    values["clip.audio.projector.stack_factor"] = stack
    tensors |= {
        "mm.a.norm_pre.weight": draw.norm(stack * EYE), "mm.a.mlp.1.weight": draw(64, stack * EYE),
        "mm.a.norm_mid.weight": draw.norm(32), "mm.a.mlp.2.weight": draw(WIDTH, 32),
    }  # fmt: skip
    return values, tensors


def qwen2audio(draw: Draw) -> tuple[Values, Tensors]:
    """750 tokens for every 30 seconds begun, between a mark and another: more than a batch holds."""
    values, tensors = ear(draw, "qwen2a")
    tensors |= {"mm.a.fc.weight": draw(WIDTH, EYE, scale=0.2), "mm.a.fc.bias": draw(WIDTH, scale=0.3)}
    return values, tensors


def omni(draw: Draw) -> tuple[Values, Tensors]:
    """Sees as llava and hears as ultravox."""
    seen, heard = llava(draw), ultravox(draw)
    return seen[0] | heard[0], seen[1] | heard[1]


def qwen25omni(draw: Draw) -> tuple[Values, Tensors]:
    """Sees as qwen2.5vl and hears as qwen2audio: a sound has as many positions as tokens, an image has fewer."""
    seen, heard = qwen25vl(draw), qwen2audio(draw)
    return seen[0] | heard[0], seen[1] | heard[1]


# kind -> (architecture of the text model, projector)
KINDS: dict[str, tuple[str, Callable[[Draw], tuple[Values, Tensors]]]] = {
    "llava": ("llama", llava),
    "gemma3": ("gemma3", gemma3),
    "qwen2vl": ("qwen2vl", qwen2vl),
    "qwen2.5vl": ("qwen2vl", qwen25vl),
    "qwen3vl": ("qwen3vl", qwen3vl),
    "minicpmv": ("llama", minicpmv),
    "idefics3": ("llama", idefics3),
    "ultravox": ("llama", ultravox),
    "qwen2audio": ("llama", qwen2audio),
    "omni": ("llama", omni),
    "qwen2.5omni": ("qwen2vl", qwen25omni),
}


# ---- files -----------------------------------------------------------------------------------------------------------


def write(folder: Path, kind: str) -> Pair:
    """Write the two files of `kind`."""
    architecture, make = KINDS[kind]
    draw = Draw(zlib.crc32(kind.encode()))
    pair = Pair(folder / f"{kind}.gguf", folder / f"{kind}-mmproj.gguf")
    values, tensors = text_model(draw, architecture)
    writer = gguf.GGUFWriter(pair.model, architecture)
    tokens, types = vocabulary()
    writer.add_name(kind)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text.encode() for text in tokens])
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_bos_token_id(tokens.index("<s>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    _finish(writer, {f"{architecture}.{key}": value for key, value in values.items()}, tensors)

    writer = gguf.GGUFWriter(pair.projector, "clip")
    writer.add_name(kind)
    _finish(writer, *make(draw))
    return pair


def _finish(writer: gguf.GGUFWriter, values: Values, tensors: Tensors) -> None:
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for key, value in values.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, np.int32):
            writer.add_int32(key, int(value))
        else:
            writer.add_uint32(key, value)
    for name, data in tensors.items():
        is_kernel = name.startswith("a.conv1d") and name.endswith("weight")  # ggml wants these in half precision
        writer.add_tensor(name, data.astype(np.float16) if is_kernel else data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    for name in sys.argv[2:] or KINDS:
        write(Path(sys.argv[1]), name)
