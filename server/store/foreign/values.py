"""Values of GGUF metadata as bytes, each behind the number of its type."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from server.store.gguf_tables import ARRAY_TYPE, SCALAR_FORMATS, STRING_TYPE

U8, U32, I32, F32, BOOL = 0, 4, 5, 6, 7


def u32(value: int) -> bytes:
    return struct.pack("<II", U32, value)


def f32(value: float) -> bytes:
    return struct.pack("<If", F32, value)


def flag(value: bool) -> bytes:
    return struct.pack("<I?", BOOL, value)


def text(value: str) -> bytes:
    return struct.pack("<I", STRING_TYPE) + string(value)


def numbers(kind: int, items: Sequence[float]) -> bytes:
    """An array of numbers of one type."""
    return array_head(kind, len(items)) + struct.pack(f"<{len(items)}{SCALAR_FORMATS[kind]}", *items)


def array_head(kind: int, count: int) -> bytes:
    return struct.pack("<IIQ", ARRAY_TYPE, kind, count)


def string(value: str) -> bytes:
    """A name: its length and its bytes, without a type."""
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw
