"""The tensors that a GGUF header lists: their names, types and places in the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from server.errors import InvalidGguf
from server.store.gguf_reader import GgufReader
from server.store.gguf_tables import TENSOR_TYPES, TensorType

MAX_NAME_BYTES = 64
MAX_DIMENSIONS = 4
_MAX_COUNT = 2**63 - 1


class Tensor(NamedTuple):
    """`offset` is relative to the header's `data_offset`; `shape` has the fastest dimension first."""

    name: str
    type: TensorType
    shape: tuple[int, ...]
    offset: int

    @property
    def elements(self) -> int:
        elements = 1
        for size in self.shape:
            elements *= size
        return elements

    @property
    def size(self) -> int:
        """In bytes."""
        return self.elements // self.type.block_elements * self.type.block_bytes


def read_tensor(reader: GgufReader, alignment: int) -> Tensor:
    """Raises InvalidGguf."""
    raw = reader.raw_string()
    name = raw.decode("utf-8", "replace")
    if not raw or len(raw) > MAX_NAME_BYTES:
        raise InvalidGguf(f"a tensor's name has {len(raw)} bytes; 1 to {MAX_NAME_BYTES} are allowed")
    dimensions = reader.u32()
    if dimensions > MAX_DIMENSIONS:
        raise InvalidGguf(f'tensor "{name}" dimensions {dimensions} exceeds maximum {MAX_DIMENSIONS}')
    shape = tuple(reader.u64() for _ in range(dimensions))
    number, offset = reader.u32(), reader.u64()
    kind = TENSOR_TYPES.get(number)
    if kind is None:
        raise InvalidGguf(f'tensor "{name}" has the unknown type {number}')
    tensor = Tensor(name, kind, shape, offset)
    if not all(shape):
        raise InvalidGguf(f'tensor "{name}" has an empty dimension')
    if tensor.elements > _MAX_COUNT:
        raise InvalidGguf(f'tensor "{name}" elements overflow')
    if tensor.size > _MAX_COUNT:
        raise InvalidGguf(f'tensor "{name}" size overflow')
    if (shape[0] if shape else 1) % kind.block_elements:
        raise InvalidGguf(f'tensor "{name}" has rows that are no multiple of {kind.name}\'s {kind.block_elements}')
    if offset % alignment:
        raise InvalidGguf(f'tensor "{name}" is not aligned to {alignment} bytes')
    return tensor


def check_layout(tensors: Sequence[Tensor], data_offset: int, file_size: int) -> int:
    """The number of all their elements. Raises InvalidGguf where one lies outside the file or over another."""
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if tensor.offset < end:
            raise InvalidGguf(f'tensor "{tensor.name}" lies over another')
        end = tensor.offset + tensor.size
        if data_offset + end > file_size:
            sizes = f"({data_offset + end}) exceeds file size ({file_size})"
            raise InvalidGguf(f'tensor "{tensor.name}" offset+size {sizes}')
    count = sum(tensor.elements for tensor in tensors)
    if count > _MAX_COUNT:
        raise InvalidGguf("parameter count overflow")
    return count
