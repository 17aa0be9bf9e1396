"""Safetensors files and a tiny Llama folder, byte by byte, without the libraries that usually write them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

WIDTH, FEED_FORWARD, LAYERS, HEADS, VOCABULARY = 64, 96, 1, 2, 280
_TYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int8": "I8", "float64": "F64"}
Arrays = Mapping[str, npt.NDArray[Any]]

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": WIDTH, "intermediate_size": FEED_FORWARD,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
    "hidden_act": "silu", "rope_theta": 10000.0,
}  # fmt: skip


def safetensors(arrays: Arrays) -> bytes:
    """16-bit integers stand for BF16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        piece = array.tobytes()
        offsets = [len(data), len(data) + len(piece)]
        header[name] = {"dtype": _TYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        data += piece
    return with_header(header, data)


def with_header(header: Any, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def llama_shapes(width: int = WIDTH, vocabulary: int = VOCABULARY) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, width),
        "model.norm.weight": (width,),
        "lm_head.weight": (vocabulary, width),
    }
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{part}_proj.weight": (width, width) for part in "qkvo"}
        shapes |= {f"{at}.mlp.{part}_proj.weight": (FEED_FORWARD, width) for part in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = (width, FEED_FORWARD)
        shapes |= {f"{at}.{part}_layernorm.weight": (width,) for part in ("input", "post_attention")}
    return shapes


def llama_arrays(kind: str = "float32") -> dict[str, npt.NDArray[Any]]:
    random = np.random.default_rng(1)
    return {name: random.standard_normal(shape).astype(kind) for name, shape in llama_shapes().items()}


def tokenizer() -> dict[str, Any]:
    """Sentencepiece's bytes and a few pieces, as transformers writes them."""
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "b", "\u2581a", "ab"]
    return {
        "added_tokens": [{"id": 1, "content": "<s>", "special": True}, {"id": 2, "content": "</s>", "special": True}],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        ]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ]},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "merges": ["\u2581 a", "a b"],
                  "vocab": {text: number for number, text in enumerate(texts)}},
    }  # fmt: skip


def llama_folder(arrays: Arrays | None = None, **config: Any) -> dict[str, bytes]:
    """Names and contents; `config` changes config.json."""
    return {
        "config.json": json.dumps({**CONFIG, **config}).encode(),
        "model.safetensors": safetensors(llama_arrays() if arrays is None else arrays),
        "tokenizer.json": json.dumps(tokenizer()).encode(),
        "tokenizer_config.json": b'{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ x }}"}',
    }
