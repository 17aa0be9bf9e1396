"""Joining the parts of a split GGUF model into one file.

The parts are named `<model>-00001-of-0000N.gguf` and numbered in their metadata too. The first one's metadata is taken
over byte for byte, without the numbers of the split; the tensors of all follow in their order.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence

from server.errors import InvalidGguf
from server.store.blobs import PIECE_BYTES, Blobs
from server.store.gguf import GgufHeader
from server.store.gguf_reader import open_regular
from server.store.gguf_tables import TENSOR_TYPES
from server.store.gguf_tensors import Tensor

_NAME = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf")
_TYPE_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}


def split_count(header: GgufHeader) -> int:
    """How many parts the model has that this file is one of; 0 or 1 for a whole model."""
    return header.number("split.count")


def group_shards(headers: Mapping[str, GgufHeader]) -> list[list[GgufHeader]]:
    """Sort parts into whole models, each from its first part on. Keys are file names. Raises InvalidGguf with the part
    that does not fit."""
    groups: dict[str, dict[int, GgufHeader]] = {}
    counts: dict[str, int] = {}
    for path, header in headers.items():
        prefix, index = _placed(path, header)
        shards = groups.setdefault(prefix, {})
        if index in shards:
            raise InvalidGguf(f"split GGUF has duplicate shard index {index}")
        shards[index] = header
        counts[prefix] = split_count(header)
    for prefix, shards in groups.items():
        if 0 not in shards:
            raise InvalidGguf("split GGUF is missing first shard")
        if len(shards) != counts[prefix]:
            raise InvalidGguf(f'split GGUF "{prefix}" has {len(shards)} shards, expected {counts[prefix]}')
    return [[shards[index] for index in sorted(shards)] for shards in groups.values()]


def _placed(path: str, header: GgufHeader) -> tuple[str, int]:
    """The model's name and the part's number from 0, from file name and metadata, which must agree."""
    match = _NAME.fullmatch(path.rpartition("/")[2])
    if match is None:
        raise InvalidGguf(f'split GGUF "{path}" must use llama.cpp split filename pattern')
    named_index, named_count, count = int(match[2]) - 1, int(match[3]), split_count(header)
    if named_count != count:
        raise InvalidGguf(f'split GGUF "{path}" filename count {named_count} does not match metadata count {count}')
    if header.get("split.no") is None:
        raise InvalidGguf(f'split GGUF "{path}" is missing split.no metadata')
    index = header.number("split.no")
    if named_index != index:
        raise InvalidGguf(f'split GGUF "{path}" filename index {named_index} does not match metadata index {index}')
    return match[1], index


def join_shards(blobs: Blobs, shards: Sequence[GgufHeader], report: Callable[[int, int], None]) -> str:
    """Store the whole model as a blob: its digest. `report` gets the bytes written and their total. Raises InvalidGguf,
    StoreError, OSError."""
    tensors = [tensor for shard in shards for tensor in shard.tensors]
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise InvalidGguf("two parts of the split GGUF hold a tensor of the same name")
    if any(shard.version == 1 or shard.big_endian for shard in shards):
        raise InvalidGguf("the parts of a split GGUF must be little-endian files of version 2 or later")
    alignment = shards[0].alignment
    head = _head(shards[0], tensors, alignment)
    total = len(head) + sum(_padded(tensor.size, alignment) for tensor in tensors)
    with blobs.incoming() as incoming:
        incoming.write(head)
        written = len(head)
        for shard in shards:
            for piece in _data(shard, alignment):
                incoming.write(piece)
                written += len(piece)
                report(written, total)
        digest = incoming.digest
        incoming.keep(digest)
    return digest


def _head(first: GgufHeader, tensors: Sequence[Tensor], alignment: int) -> bytes:
    kept = [span for key, span in first.ranges.items() if not key.startswith("split.")]
    out = bytearray(struct.pack("<4sIQQ", b"GGUF", max(first.version, 2), len(tensors), len(kept)))
    with open_regular(first.path) as file:
        for start, end in kept:
            file.seek(start)
            out += file.read(end - start)
    offset = 0
    for tensor in tensors:
        name = tensor.name.encode()
        out += struct.pack("<Q", len(name)) + name
        out += struct.pack(f"<I{len(tensor.shape)}QIQ", len(tensor.shape), *tensor.shape,
                           _TYPE_NUMBERS[tensor.type.name], offset)  # fmt: skip
        offset += _padded(tensor.size, alignment)
    return bytes(out) + bytes(-len(out) % alignment)


def _data(shard: GgufHeader, alignment: int) -> Iterator[bytes]:
    with open_regular(shard.path) as file:
        for tensor in shard.tensors:
            file.seek(shard.data_offset + tensor.offset)
            left = tensor.size
            while left:
                piece = file.read(min(left, PIECE_BYTES))
                if not piece:
                    raise InvalidGguf("a part of the split GGUF ended while it was read")
                left -= len(piece)
                yield piece
            yield bytes(-tensor.size % alignment)


def _padded(size: int, alignment: int) -> int:
    return size + -size % alignment
