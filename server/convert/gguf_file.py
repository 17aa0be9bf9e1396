"""A GGUF file written from front to back, hashed on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

import gguf
import numpy as np

from server.convert.plan import Array, Key
from server.convert.vocabulary import SpecialTokens, Vocabulary
from server.convert.weights import Weight

_TYPES = {
    "F32": gguf.GGMLQuantizationType.F32,
    "F16": gguf.GGMLQuantizationType.F16,
    "BF16": gguf.GGMLQuantizationType.BF16,
}
_FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
}
_VALUE_TYPES = {
    "count": gguf.GGUFValueType.UINT32,
    "number": gguf.GGUFValueType.FLOAT32,
    "flag": gguf.GGUFValueType.BOOL,
    "text": gguf.GGUFValueType.STRING,
    "numbers": gguf.GGUFValueType.ARRAY,
    "flags": gguf.GGUFValueType.ARRAY,
}
_SPECIAL_KEYS = {"unk": "unknown", "sep": "seperator", "pad": "padding"}  # GGUF's own spelling
ALIGNMENT_BYTES = 32


class HashedFile:
    """What the writer writes to: keeps count and hash of all that goes through."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("r+b", buffering=0)
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> HashedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes | bytearray | memoryview) -> int:
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self.size += len(view)
        written = 0
        while written < len(view):
            written += self._file.write(view[written:])
        return written

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing is held back."""

    def sync(self) -> None:
        os.fsync(self._file.fileno())


class GgufFile:
    """Collect keys and a vocabulary, then write it all with the weights. `name` is the model's title. `kind`: what the
    file is, "model" or "adapter"."""

    def __init__(self, architecture: str, name: str, kind: str = gguf.GGUFType.MODEL) -> None:
        self._architecture = architecture
        self._writer = gguf.GGUFWriter(None, architecture)
        self._writer.add_type(kind)
        self._writer.add_name(name)
        self._writer.add_quantization_version(gguf.GGML_QUANT_VERSION)

    def add_keys(self, keys: Iterable[Key]) -> None:
        for key in keys:
            name = self._architecture + key.name if key.name.startswith(".") else key.name
            self._writer.add_key_value(name, key.value, _VALUE_TYPES[key.type])

    def add_vocabulary(self, vocabulary: Vocabulary, special: SpecialTokens) -> None:
        writer = self._writer
        writer.add_tokenizer_model(vocabulary.model)
        writer.add_tokenizer_pre(vocabulary.pre)
        writer.add_token_list([token.text for token in vocabulary.tokens])
        writer.add_token_types([token.type for token in vocabulary.tokens])
        if vocabulary.model == "llama":
            writer.add_token_scores([token.score for token in vocabulary.tokens])
        if vocabulary.merges:
            writer.add_token_merges(vocabulary.merges)
        for role, number in special.ids.items():
            writer.add_uint32(f"tokenizer.ggml.{_SPECIAL_KEYS.get(role, role)}_token_id", number)
        flags = {f"add_{role}_token": value for role, value in special.adds.items()} | {
            "add_space_prefix": vocabulary.add_space_prefix,
            "normalizer.lowercase": vocabulary.lowercase,
            "normalizer.strip_accents": vocabulary.strip_accents,
        }
        for name, value in flags.items():
            if value is not None:
                writer.add_bool(f"tokenizer.ggml.{name}", value)
        if special.chat_template:
            writer.add_chat_template(special.chat_template)

    def write(self, weights: Iterable[Weight], file: HashedFile, report: Callable[[int, int], None]) -> None:
        """`report` takes the bytes written and the bytes that there will be. Raises OSError."""
        weights = list(weights)
        self._writer.add_file_type(_FILE_TYPES[_main_type(weights)])
        for weight in weights:
            self._writer.add_tensor_info(
                weight.name, weight.shape, np.dtype("<u2"), weight.size_bytes, _TYPES[weight.type]
            )
        total = sum(_padded(weight.size_bytes) for weight in weights)
        report(0, total)
        self._writer.fout = [file]
        self._writer.state = gguf.gguf_writer.WriterState.EMPTY
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_ti_data_to_file()
        _pad(file)
        head = file.size
        for weight in weights:
            for values in weight.values():
                file.write(_bytes(values))
                report(file.size - head, total)
            _pad(file)
        report(total, total)


def _bytes(values: Array) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _pad(file: HashedFile) -> None:
    file.write(bytes(_padded(file.size) - file.size))


def _main_type(weights: Iterable[Weight]) -> str:
    """The type that most of the values have."""
    sizes: dict[str, int] = {}
    for weight in weights:
        if len(weight.shape) > 1:
            sizes[weight.type] = sizes.get(weight.type, 0) + weight.size_bytes
    return max(sizes, key=lambda kind: sizes[kind], default="F32")
