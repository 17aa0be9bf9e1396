"""Writes GGUF files, sound ones and every kind of broken one."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10


@dataclass
class Strings:
    """An array of strings."""

    items: list[str]


@dataclass
class Numbers:
    """An array of numbers of one type."""

    kind: int
    items: list[Any]


@dataclass
class TensorEntry:
    name: str
    shape: tuple[int, ...] = (32,)
    kind: int = 0
    offset: int | None = None
    data_bytes: int | None = None


@dataclass
class GgufFile:
    """Values: text, bool, int (u32), float (f32), Strings, Numbers; `raw_pairs` go in as they are."""

    metadata: list[tuple[str, Any]] = field(default_factory=list)
    tensors: list[TensorEntry] = field(default_factory=list)
    version: int = 3
    order: str = "<"
    magic: bytes = b"GGUF"
    alignment: int = 32
    raw_pairs: list[bytes] = field(default_factory=list)
    key_count: int | None = None
    tensor_count: int | None = None

    def encoded(self) -> bytes:
        count = "I" if self.version == 1 else "Q"
        keys = len(self.metadata) + len(self.raw_pairs) if self.key_count is None else self.key_count
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        out = self.magic + struct.pack(f"{self.order}I{count}{count}", self.version, tensors, keys)
        out += b"".join(self.pair(key, value) for key, value in self.metadata) + b"".join(self.raw_pairs)
        offset, data = 0, b""
        for entry in self.tensors:
            size = entry.data_bytes if entry.data_bytes is not None else tensor_bytes(entry)
            start = offset if entry.offset is None else entry.offset
            out += self.string(entry.name) + struct.pack(f"{self.order}I", len(entry.shape))
            out += struct.pack(f"{self.order}{len(entry.shape)}Q", *entry.shape)
            out += struct.pack(f"{self.order}IQ", entry.kind, start)
            data += bytes(-len(data) % self.alignment) + bytes(size)
            offset = len(data) + (-len(data) % self.alignment)
        return out + (bytes(-len(out) % self.alignment) + data if self.tensors else b"")

    def string(self, text: str | bytes) -> bytes:
        raw = text.encode() if isinstance(text, str) else text
        raw += b"\0" if self.version == 1 else b""
        return struct.pack(f"{self.order}Q", len(raw)) + raw

    def pair(self, key: str | bytes, value: Any) -> bytes:
        return self.string(key) + self._typed(value)

    def raw_pair(self, key: str, kind: int, data: bytes) -> bytes:
        return self.string(key) + struct.pack(f"{self.order}I", kind) + data

    def _typed(self, value: Any) -> bytes:
        order = self.order
        if isinstance(value, str):
            return struct.pack(f"{order}I", STRING) + self.string(value)
        if isinstance(value, bool):
            return struct.pack(f"{order}I?", BOOL, value)
        if isinstance(value, int):
            return struct.pack(f"{order}II", U32, value)
        if isinstance(value, float):
            return struct.pack(f"{order}If", F32, value)
        count = "I" if self.version == 1 else "Q"
        if isinstance(value, Strings):
            head = struct.pack(f"{order}II{count}", ARRAY, STRING, len(value.items))
            return head + b"".join(map(self.string, value.items))
        head = struct.pack(f"{order}II{count}", ARRAY, value.kind, len(value.items))
        return head + struct.pack(f"{order}{len(value.items)}{FORMATS[value.kind]}", *value.items)


def tensor_bytes(entry: TensorEntry) -> int:
    elements = 1
    for size in entry.shape:
        elements *= size
    return elements * {0: 4, 1: 2}.get(entry.kind, 1)


LLAMA: list[tuple[str, Any]] = [
    ("general.architecture", "llama"),
    ("general.name", "small"),
    ("general.file_type", 1),
    ("llama.block_count", 2),
    ("llama.embedding_length", 32),
    ("llama.attention.head_count", 4),
    ("llama.attention.head_count_kv", 2),
    ("llama.context_length", 128),
    ("llama.attention.layer_norm_rms_epsilon", 0.00001),
    ("tokenizer.ggml.tokens", Strings(["a", "b", "c"])),
    ("tokenizer.ggml.scores", Numbers(F32, [0.5, 0.25, 0.0])),
]


def small_model(**changes: Any) -> GgufFile:
    """A few hundred bytes with two layers; `changes` replace metadata keys, with dots written as `__`."""
    named = {key.replace("__", "."): value for key, value in changes.items()}
    metadata = [(key, named.pop(key, value)) for key, value in LLAMA]
    tensors = [TensorEntry("token_embd.weight", (32, 3), 1), TensorEntry("blk.0.attn_q.weight", (32, 4), 1)]
    tensors += [TensorEntry("blk.1.attn_q.weight", (32, 8), 0), TensorEntry("output_norm.weight", (32,), 0)]
    return GgufFile([*((key, value) for key, value in metadata if value is not None), *named.items()], tensors)
