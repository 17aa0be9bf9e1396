"""A GGUF header on its way from one engine's names to another's.

Every value and every tensor remembers where its bytes are in the file, so nothing is read that is not changed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from server.errors import InvalidGguf
from server.messages.patchwork import Patch, Patchwork
from server.store.foreign import values
from server.store.gguf import GgufHeader, read_header_prefix
from server.store.gguf_reader import GgufReader, open_regular
from server.store.gguf_tables import ARRAY_TYPE, SCALAR_BYTES, STRING_TYPE, TENSOR_TYPES
from server.store.gguf_tensors import Tensor

_TYPE_NUMBERS = {kind.name: number for number, kind in TENSOR_TYPES.items()}
_F32 = TENSOR_TYPES[0]
_WIDENED = frozenset({"F16", "BF16", "Q8_0"})


class Finished(NamedTuple):
    """The plan of the new file, and its header as it was read back and checked."""

    patchwork: Patchwork
    header: GgufHeader


@dataclass(frozen=True)
class Piece:
    """A tensor: what its new name holds, and the bytes for it."""

    type_name: str
    shape: tuple[int, ...]
    patches: tuple[Patch, ...]

    @property
    def size(self) -> int:
        return sum(patch.length for patch in self.patches)


class Draft:
    """Changes names and values of `header`, then is `finished`. Methods that ask for something raise InvalidGguf where
    the file lacks it."""

    def __init__(self, header: GgufHeader) -> None:
        self.header = header
        self.pairs: dict[str, tuple[Patch, ...]] = {
            key: (_range(start + 8 + len(key.encode()), end),) for key, (start, end) in header.ranges.items()
        }
        self.tensors: dict[str, Piece] = {tensor.name: self._piece(tensor) for tensor in header.tensors}

    def _piece(self, tensor: Tensor) -> Piece:
        place = Patch(offset=self.header.data_offset + tensor.offset, size=tensor.size)
        return Piece(tensor.type.name, tensor.shape, (place,))

    # ---- values ----------------------------------------------------------------------------------------------------

    def put(self, key: str, value: bytes) -> None:
        self.pairs[key] = (Patch(value),)

    def put_missing(self, key: str, value: bytes) -> None:
        if key not in self.pairs:
            self.put(key, value)

    def copy(self, names: Mapping[str, str]) -> None:
        """Old key to new key. What the file has under the new one already stays, what it lacks is left out."""
        for old, new in names.items():
            if old in self.pairs and new not in self.pairs:
                self.pairs[new] = self.pairs[old]

    def drop(self, *keys: str) -> None:
        for key in keys:
            self.pairs.pop(key, None)

    def become(self, architecture: str) -> None:
        """Rename the architecture and all its keys."""
        prefix = f"{self.header.architecture}."
        moved: dict[str, tuple[Patch, ...]] = {}
        for key, value in self.pairs.items():
            moved[f"{architecture}.{key.removeprefix(prefix)}" if key.startswith(prefix) else key] = value
        self.pairs = moved
        self.put("general.architecture", values.text(architecture))

    def keep(self, *prefixes: str) -> None:
        """Forget all other keys."""
        self.pairs = {key: value for key, value in self.pairs.items() if key.startswith(prefixes)}

    def cut(self, key: str, count: int) -> None:
        """Let an array end after `count` elements; one that is no longer stays."""
        if key not in self.header.ranges:
            return
        start = self.header.ranges[key][0] + 8 + len(key.encode())
        with open_regular(self.header.path) as file:
            reader = GgufReader(file, version=self.header.version)
            reader.seek(start)
            if reader.u32() != ARRAY_TYPE:
                raise InvalidGguf(f"the value of {key} is not a list")
            kind, length = reader.u32(), reader.count()
            if length <= count:
                return
            begin = reader.position
            if kind == STRING_TYPE:
                reader.skip_strings(count)
            else:
                reader.skip(count * SCALAR_BYTES[kind])
            self.pairs[key] = (Patch(values.array_head(kind, count)), _range(begin, reader.position))

    def number(self, key: str) -> int:
        """A whole number above zero that the file must have."""
        value = self.header.number(key)
        if not 0 < value < 2**31:
            raise InvalidGguf(f"the key {self._full(key)} is missing or cannot be used")
        return value

    def whole_numbers(self, key: str) -> list[int]:
        """A list of small whole numbers, empty where the file has none."""
        found = self.header.array(key) if self.header.get(key) is not None else []
        if not all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**31 for each in found):
            raise InvalidGguf(f"the key {self._full(key)} holds something other than whole numbers")
        return found

    def _full(self, key: str) -> str:
        return key if key.startswith("tokenizer.") else f"{self.header.architecture}.{key}"

    # ---- tensors ---------------------------------------------------------------------------------------------------

    def tensor(self, name: str, dimensions: int) -> Piece:
        """A tensor that the file must have, with so many dimensions."""
        found = self.tensors.get(name)
        if found is None:
            raise InvalidGguf(f"the tensor {name} is missing")
        if len(found.shape) != dimensions:
            raise InvalidGguf(f"the tensor {name} has {len(found.shape)} dimensions instead of {dimensions}")
        return found

    def has_any(self, *prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in self.tensors)

    def leave(self, *prefixes: str) -> None:
        """Do without these tensors."""
        self.tensors = {name: piece for name, piece in self.tensors.items() if not name.startswith(prefixes)}

    def take(self, *prefixes: str) -> None:
        """Do without all others."""
        self.tensors = {name: piece for name, piece in self.tensors.items() if name.startswith(prefixes)}

    def rename(self, words: Iterable[tuple[str, str]]) -> None:
        """In the name of each tensor, replace each word that is in it, once and in this order."""
        renamed: dict[str, Piece] = {}
        for name, piece in self.tensors.items():
            new = name
            for old, other in words:
                new = new.replace(old, other, 1)
            if new in renamed:
                raise InvalidGguf(f"two of its tensors would be named {new}")
            renamed[new] = piece
        self.tensors = renamed

    def rename_ends(self, words: Mapping[str, str]) -> None:
        """Give the names that end so another end."""
        ends = {name: end for name in self.tensors for end in words if name.endswith(end)}
        self.tensors = {
            name.removesuffix(ends[name]) + words[ends[name]] if name in ends else name: piece
            for name, piece in self.tensors.items()
        }

    def first_rows(self, name: str, rows: int) -> None:
        """Keep the first rows of a matrix."""
        piece = self.tensor(name, 2)
        if piece.shape[1] > rows:
            (place,) = piece.patches
            shorter = msgspec.structs.replace(place, size=place.size // piece.shape[1] * rows)
            self.tensors[name] = Piece(piece.type_name, (piece.shape[0], rows), (shorter,))

    def widen(self, name: str) -> None:
        """Make 32-bit floats of a tensor of 16-bit ones, if the file has it."""
        piece = self.tensors.get(name)
        if piece is not None and piece.type_name != _F32.name:
            self.tensors[name] = self.widened(name, piece)

    def widened(self, name: str, piece: Piece) -> Piece:
        """The same numbers as 32-bit floats."""
        if piece.type_name == _F32.name:
            return piece
        if piece.type_name not in _WIDENED:
            raise InvalidGguf(f"the tensor {name} is of the type {piece.type_name}, which is not expected there")
        kind = piece.type_name
        patches = tuple(msgspec.structs.replace(patch, widen=kind) for patch in piece.patches)
        return Piece(_F32.name, piece.shape, patches)

    # ---- the whole -------------------------------------------------------------------------------------------------

    def finished(self) -> Finished:
        """Raises InvalidGguf where the new file would not be sound."""
        head = list(self._head())
        used = sum(patch.length for patch in head)
        patches = [*head, *_padding(used, self.header.alignment)]
        prefix = self._bytes(patches)
        for piece in self.tensors.values():
            patches += [*piece.patches, *_padding(piece.size, self.header.alignment)]
        whole = Patchwork(str(self.header.path), tuple(_joined(patches)))
        header = read_header_prefix(prefix, whole.size)
        if header is None:
            raise InvalidGguf("its header cannot be written in the new form")
        return Finished(whole, header)

    def _head(self) -> Iterable[Patch]:
        yield Patch(b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.pairs)))
        for key, value in self.pairs.items():
            yield Patch(values.string(key))
            yield from value
        offset = 0
        for name, piece in self.tensors.items():
            yield Patch(_tensor_entry(name, piece, offset))
            offset += -(-piece.size // self.header.alignment) * self.header.alignment

    def read(self, patch: Patch) -> bytes:
        """The bytes of a place in the file."""
        return self._bytes([patch])

    def _bytes(self, patches: Sequence[Patch]) -> bytes:
        """What the head of the new file is."""
        parts: list[bytes] = []
        with open_regular(self.header.path) as file:
            reader = GgufReader(file)
            for patch in patches:
                if patch.data:
                    parts.append(patch.data)
                else:
                    reader.seek(patch.offset)
                    parts.append(reader.take(patch.size))
        return b"".join(parts)


def _tensor_entry(name: str, piece: Piece, offset: int) -> bytes:
    shape = piece.shape
    numbers = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return values.string(name) + numbers + struct.pack("<IQ", _TYPE_NUMBERS[piece.type_name], offset)


def _range(start: int, end: int) -> Patch:
    return Patch(offset=start, size=end - start)


def _padding(size: int, alignment: int) -> list[Patch]:
    missing = -size % alignment
    return [Patch(bytes(missing))] if missing else []


def _joined(patches: Iterable[Patch]) -> Iterable[Patch]:
    """Neighbours become one."""
    last: Patch | None = None
    for patch in patches:
        if last is None:
            last = patch
        elif last.data and patch.data:
            last = Patch(last.data + patch.data)
        elif not last.data and not patch.data and last.is_plain and patch.is_plain and _follows(last, patch):
            last = Patch(offset=last.offset, size=last.size + patch.size)
        else:
            yield last
            last = patch
    if last is not None:
        yield last


def _follows(first: Patch, second: Patch) -> bool:
    return first.offset + first.size == second.offset
