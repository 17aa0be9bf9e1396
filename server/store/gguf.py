"""The header of a GGUF file, read and checked before anything else sees the file.

llama.cpp trusts much of what it reads, and has been crashed and worse by crafted files; what passes here keeps its
promises: every count fits, every tensor lies inside the file and over no other, every name is unique.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from server.errors import InvalidGguf
from server.messages.models import ModelShape
from server.store.gguf_reader import BytesMissing, GgufArray, GgufReader, open_regular
from server.store.gguf_shape import FOREIGN_PREFIXES, block_bytes, shape_of
from server.store.gguf_tables import FILE_TYPES, UNKNOWN_FILE_TYPE
from server.store.gguf_tensors import Tensor, check_layout, read_tensor

MAX_KEYS = 65_536
MAX_TENSORS = 65_536
MAX_ALIGNMENT = 4096
DEFAULT_ALIGNMENT = 32
HEADER_BYTES = 16 * 1024 * 1024  # vocabularies are most of it
_LEAST_KEY_BYTES = 13
_LEAST_TENSOR_BYTES = 24


class GgufHeader:
    """What a GGUF file says of itself. Values of `metadata` are scalars, texts, short lists, or a GgufArray that stayed
    in the file; `array` reads one."""

    def __init__(self, path: Path, reader: GgufReader, big_endian: bool) -> None:
        self.path = path
        self.version = reader.version
        self.big_endian = big_endian
        self.file_size = reader.size
        self.metadata: dict[str, Any] = {}
        self.ranges: dict[str, tuple[int, int]] = {}  # where each pair lies in the file
        self.tensors: list[Tensor] = []
        self.alignment = DEFAULT_ALIGNMENT
        self.data_offset = 0
        self.parameter_count = 0
        self._shape: ModelShape | None = None

    def __repr__(self) -> str:
        return f"<GGUF v{self.version} {self.architecture}, {len(self.tensors)} tensors, {self.file_type}>"

    def get(self, key: str, default: Any = None) -> Any:
        """A key without a known prefix is one of the architecture's."""
        known = key.startswith(("general.", "tokenizer.", "split.", f"{self.architecture}."))
        return self.metadata.get(key if known else f"{self.architecture}.{key}", default)

    def number(self, key: str) -> int:
        """0 where the key is missing or no whole number."""
        value = self.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def text(self, key: str) -> str:
        value = self.get(key)
        return value if isinstance(value, str) else ""

    def flag(self, key: str) -> bool | None:
        value = self.get(key)
        return value if isinstance(value, bool) else None

    def array(self, key: str) -> list[Any]:
        """All elements, from the file where need be. Raises OSError, InvalidGguf."""
        value = self.get(key)
        if not isinstance(value, GgufArray):
            return value if isinstance(value, list) else []
        with open_regular(self.path) as file:
            return GgufReader(file, version=self.version, big_endian=self.big_endian).array(value)

    def array_length(self, key: str) -> int:
        value = self.get(key)
        return value.count if isinstance(value, GgufArray) else len(value) if isinstance(value, list) else 0

    @property
    def architecture(self) -> str:
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else ""

    @property
    def kind(self) -> str:
        """One of "model", "adapter" and "projector"."""
        kind = self.text("general.type").lower()
        if kind == "adapter":
            return "adapter"
        is_vision_only = not self.number("block_count") and self.number("vision.block_count") > 0
        has_encoder = any(self.flag(f"clip.has_{sense}_encoder") for sense in ("vision", "audio"))
        if kind in ("projector", "mmproj") or is_vision_only or (self.architecture == "clip" and has_encoder):
            return "projector"
        return "model"

    @property
    def chat_template(self) -> str:
        """The model's own Jinja template, "" where it has none."""
        return self.text("tokenizer.chat_template")

    @property
    def has_pooling(self) -> bool:
        """The model makes embeddings and no text."""
        return self.get("pooling_type") is not None

    @property
    def has_vision(self) -> bool:
        return self.number("vision.block_count") > 0

    @property
    def has_audio(self) -> bool:
        return self.number("audio.block_count") > 0

    @property
    def add_bos(self) -> bool | None:
        return self.flag("tokenizer.ggml.add_bos_token")

    @property
    def file_type(self) -> str:
        """The name of the quantization."""
        value = self.get("general.file_type")
        return FILE_TYPES.get(value, UNKNOWN_FILE_TYPE) if isinstance(value, int) else UNKNOWN_FILE_TYPE

    @property
    def has_embedded_encoder(self) -> bool:
        """Vision, audio or extra prediction tensors lie between those of the language model."""
        return any(tensor.name.startswith(FOREIGN_PREFIXES) for tensor in self.tensors)

    def shape(self) -> ModelShape:
        if self._shape is None:
            self._shape = shape_of(self, block_bytes((tensor.name, tensor.size) for tensor in self.tensors))
        return self._shape


def read_header(path: Path) -> GgufHeader:
    """Read and check a header. Raises OSError where the file cannot be read, InvalidGguf where it must not be used."""
    with open_regular(path) as file:
        return _read(path, GgufReader(file))


def read_header_prefix(prefix: bytes, file_size: int) -> GgufHeader | None:
    """The header of a file of which only the first bytes are there; None where more of them are needed.

    `file_size` is what the whole file will have; HEADER_BYTES of it hold nearly every header. Raises InvalidGguf.
    Arrays that stay in the file cannot be read.
    """
    try:
        return _read(Path(), GgufReader(io.BytesIO(prefix), size=file_size))
    except BytesMissing:
        return None


def _read(path: Path, reader: GgufReader) -> GgufHeader:
    big_endian = _read_version(reader)
    header = GgufHeader(path, reader, big_endian)
    tensor_count, key_count = reader.count(), reader.count()
    _bound(tensor_count, _LEAST_TENSOR_BYTES, MAX_TENSORS, reader, "tensors")
    _bound(key_count, _LEAST_KEY_BYTES, MAX_KEYS, reader, "keys")
    for _ in range(key_count):
        _read_pair(reader, header)
    header.alignment = _alignment(header)
    names: set[str] = set()
    for _ in range(tensor_count):
        tensor = read_tensor(reader, header.alignment)
        if tensor.name in names:
            raise InvalidGguf(f'two tensors are named "{tensor.name}"')
        names.add(tensor.name)
        header.tensors.append(tensor)
    header.data_offset = -(-reader.position // header.alignment) * header.alignment
    header.parameter_count = check_layout(header.tensors, header.data_offset, header.file_size)
    return header


def _read_version(reader: GgufReader) -> bool:
    """Sets the reader's version and byte order; true for big-endian files, of which there are two spellings."""
    if reader.size < 4:
        raise InvalidGguf("invalid file magic")
    magic = reader.take(4)
    if magic not in (b"GGUF", b"FUGG"):
        raise InvalidGguf("invalid file magic")
    raw = reader.take(4)
    version = int.from_bytes(raw, "little")
    big_endian = magic == b"FUGG" or version & 0xFFFF == 0
    if big_endian:
        version = int.from_bytes(raw, "big")
    if version == 0:
        raise InvalidGguf("invalid GGUF version: 0")
    reader.use(version, big_endian)
    return big_endian


def _bound(count: int, least_bytes: int, most: int, reader: GgufReader, what: str) -> None:
    if count > most or count * least_bytes > reader.remaining:
        raise InvalidGguf(f"the GGUF file announces {count} {what}, more than it can hold")


def _read_pair(reader: GgufReader, header: GgufHeader) -> None:
    start = reader.position
    try:
        key = reader.raw_string().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidGguf("a key of the GGUF file is not valid UTF-8") from error
    if not key:
        raise InvalidGguf("a key of the GGUF file is empty")
    if key in header.metadata:
        raise InvalidGguf(f'the key "{key[:80]}" occurs twice in the GGUF file')
    reader.keep(len(key) + 256)
    header.metadata[key] = reader.value(reader.u32())
    header.ranges[key] = (start, reader.position)


def _alignment(header: GgufHeader) -> int:
    alignment = header.metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    is_number = isinstance(alignment, int) and not isinstance(alignment, bool)
    if not is_number or not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise InvalidGguf(f"invalid GGUF alignment: {str(alignment)[:40]}")
    return int(alignment)
