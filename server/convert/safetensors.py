"""Files of the safetensors format: u64 length of a JSON header, the header, and the bytes of the tensors behind it.

Nothing in a header is believed before it has been held against the file: a hostile one costs a sentence and no memory.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from server.errors import InvalidRequest

MIB = 1024 * 1024
HEADER_LIMIT_BYTES = 100 * MIB
TENSOR_LIMIT = 1_000_000
DIMENSION_LIMIT = 4
CHUNK_BYTES = 16 * MIB  # what is read and converted at once
_LENGTH = struct.Struct("<Q")
# How each type is held in memory; BF16 has no type of its own in numpy.
_TYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
# Sizes of types that a file may hold but no weight of a language model may have.
_OTHER_BYTES = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
                "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1}  # fmt: skip
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a file. `shape`: the slowest dimension first. `start`: offset in the file."""

    name: str
    type: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int
    path: Path

    @property
    def is_floating(self) -> bool:
        return self.type in _TYPES

    def chunks(self, rows: int | None = None) -> Iterator[Array]:
        """The first `rows` rows, or all, some at a time; one-dimensional tensors whole. Raises InvalidRequest for a
        type that is no float, OSError."""
        stored = self._stored_type()
        count = self.shape[0] if rows is None else rows
        row_items = math.prod(self.shape[1:])
        step = max(1, CHUNK_BYTES // (row_items * stored.itemsize)) if row_items else count
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.start)
            for first in range(0, count, step):
                taken = min(step, count - first)
                values = np.fromfile(file, stored, taken * row_items)
                if values.size != taken * row_items:
                    raise InvalidRequest(f"the file of the tensor {self.name} ends too early; upload it again")
                yield values.reshape(taken, *self.shape[1:])

    def read(self) -> Array:
        """All of it. Raises as chunks does."""
        parts = list(self.chunks())
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    def _stored_type(self) -> np.dtype[Any]:
        try:
            return _TYPES[self.type]
        except KeyError:
            raise InvalidRequest(
                f"the tensor {self.name} is of type {self.type}: this model has been quantized already, and only "
                "weights of type F32, F16 or BF16 can be converted; use the original model"
            ) from None


def read_header(path: Path, name: str) -> dict[str, Tensor]:
    """All tensors of a file, checked. `name` is what users call the file. Raises InvalidRequest, OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH.size)
        if len(start) < _LENGTH.size:
            raise _invalid(name, "it is too short")
        (length,) = _LENGTH.unpack(start)
        if length > HEADER_LIMIT_BYTES or length > size - _LENGTH.size:
            raise _invalid(name, f"its header would have {length} bytes")
        text = file.read(length)
    entries = _decoded(text, name)
    data_start = _LENGTH.size + length
    tensors = [
        _tensor(key, value, data_start, size, path, name) for key, value in entries.items() if key != "__metadata__"
    ]
    _check_order(tensors, name)
    return {tensor.name: tensor for tensor in tensors}


def _decoded(text: bytes, name: str) -> dict[str, Any]:
    try:
        entries = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, name))
    except (ValueError, RecursionError) as error:
        raise _invalid(name, "its header is no JSON") from error
    if not isinstance(entries, dict):
        raise _invalid(name, "its header is no JSON object")
    if len(entries) > TENSOR_LIMIT:
        raise _invalid(name, f"it names {len(entries)} tensors")
    return entries


def _unique(pairs: list[tuple[str, Any]], name: str) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise _invalid(name, "its header names a tensor twice")
    return entries


def _tensor(key: str, entry: Any, data_start: int, file_size: int, path: Path, name: str) -> Tensor:
    described = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = described.get("dtype"), described.get("shape"), described.get("data_offsets")
    if not isinstance(kind, str) or not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _invalid(name, f"its description of {_short(key)} is not understood")
    if len(shape) > DIMENSION_LIMIT:
        raise _invalid(name, f"{_short(key)} has {len(shape)} dimensions")
    item_bytes = _TYPES[kind].itemsize if kind in _TYPES else _OTHER_BYTES.get(kind, 0)
    if not item_bytes:
        raise InvalidRequest(f"{name}: the tensor {_short(key)} is of type {_short(kind)}, which is not known")
    begin, end = offsets
    if begin > end or data_start + end > file_size:
        raise _invalid(name, f"{_short(key)} lies outside of it")
    if math.prod(shape) * item_bytes != end - begin:
        raise _invalid(name, f"the size of {_short(key)} does not match its shape")
    return Tensor(key, kind, tuple(shape), data_start + begin, end - begin, path)


def _check_order(tensors: list[Tensor], name: str) -> None:
    """No byte belongs to two tensors."""
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.size_bytes)):
        if tensor.size_bytes and tensor.start < end:
            raise _invalid(name, f"{_short(tensor.name)} overlaps another tensor")
        end = max(end, tensor.start + tensor.size_bytes)


def _are_counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 62 for item in value)


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


def _invalid(name: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"{name} is not a sound safetensors file: {reason}; download it again")
