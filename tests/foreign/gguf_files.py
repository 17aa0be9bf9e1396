"""Small GGUF files with random weights, as values that a test can change before it writes them."""

from __future__ import annotations

import pathlib
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import gguf
import numpy as np

Shape = tuple[int, ...]  # rows first, as numpy has it


@dataclass(frozen=True)
class File:
    """Values: text, bool, int (u32), float (f32), bytes, lists of one of them, and lists of int (i32)."""

    architecture: str
    keys: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)

    def with_tensors(self, **changes: np.ndarray) -> File:
        return replace(self, tensors={**self.tensors, **changes})

    def write(self, path: pathlib.Path) -> pathlib.Path:
        writer = gguf.GGUFWriter(path, self.architecture)
        for key, value in self.keys.items():
            if isinstance(value, bool):
                writer.add_bool(key, value)
            elif isinstance(value, int):
                writer.add_uint32(key, value)
            elif isinstance(value, float):
                writer.add_float32(key, value)
            elif isinstance(value, str):
                writer.add_string(key, value)
            elif isinstance(value, bytes):
                writer.add_key_value(key, value, gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT8)
            else:
                writer.add_array(key, value)
        for name, data in self.tensors.items():
            is_packed = data.dtype == np.uint8
            writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.MXFP4 if is_packed else None)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def weights(names: dict[str, Shape], scale: float = 0.25) -> dict[str, np.ndarray]:
    """Random ones that depend on nothing but name and shape; those that multiply a norm are about one. Embeddings are
    small, so that what comes out is not what went in."""
    found: dict[str, np.ndarray] = {}
    for name, shape in names.items():
        draw = np.random.default_rng(zlib.crc32(name.encode()))
        spread = 0.04 if name == "token_embd.weight" else scale
        values = draw.normal(0, spread, shape).astype(np.float32)
        is_norm = len(shape) == 1 and name.endswith("weight") and ("norm" in name or ".ln" in name or "post_ln" in name)
        found[name] = values + 1 if is_norm else values
    return found


def half(data: np.ndarray) -> np.ndarray:
    return data.astype(np.float16)


def packed(data: np.ndarray) -> np.ndarray:
    """In the four-bit type of gpt-oss."""
    return gguf.quants.quantize(data, gguf.GGMLQuantizationType.MXFP4)


# ---- vocabularies ----------------------------------------------------------------------------------------------------

WORDS = 384


def pieces(count: int = WORDS) -> dict[str, Any]:
    """Characters and bytes with scores, as SentencePiece has them."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["\u2581", *(chr(code) for code in range(33, 127))]
    kinds = [2, 3, 3] + [6] * 256 + [1] * 95
    while len(tokens) < count:
        tokens.append(f"<unused{len(tokens)}>")
        kinds.append(1)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(number) for number in range(len(tokens))],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_space_prefix": False,
    }


def byte_pairs(pre: str, count: int = WORDS) -> dict[str, Any]:
    """Bytes as GPT-2 writes them, and a few pairs."""
    tokens = [*_byte_letters(), *(a + b for a, b in _PAIRS)]
    kinds = [1] * len(tokens)
    while len(tokens) < count:
        tokens.append(f"<|special{len(tokens)}|>")
        kinds.append(3)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in _PAIRS],
        "tokenizer.ggml.eos_token_id": count - 1,
        "tokenizer.ggml.bos_token_id": count - 2,
        "tokenizer.ggml.add_bos_token": False,
    }


# Some reach across what one family of models cuts and another does not.
_PAIRS = (("t", "h"), ("Ġ", "a"), ("1", "2"), ("1", "1"), ("Ġ", "B"), ("d", "W"), ("(", "w"))


def _byte_letters() -> list[str]:
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in shown}
    others = (byte for byte in range(256) if byte not in letters)
    letters.update({byte: chr(256 + number) for number, byte in enumerate(others)})
    return [letters[byte] for byte in range(256)]
