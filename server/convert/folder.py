"""The files of a model's folder, which lie under other names on the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.convert.safetensors import Tensor, read_header
from server.errors import InvalidRequest

MIB = 1024 * 1024
TEXT_LIMIT_BYTES = 128 * MIB  # a tokenizer with a million merges has 60
INDEX = "model.safetensors.index.json"


class Folder:
    """`files`: names relative to the folder, with slashes, and where each of them is."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = {name: Path(path) for name, path in files.items()}

    def has(self, name: str) -> bool:
        return name in self._files

    def data(self, name: str) -> bytes:
        """Raises InvalidRequest where the file is missing or of a size that no text has, OSError."""
        path = self._files.get(name)
        if path is None:
            raise InvalidRequest(f"{name} is missing; give the whole folder of the model")
        if path.stat().st_size > TEXT_LIMIT_BYTES:
            raise InvalidRequest(f"{name} is larger than {TEXT_LIMIT_BYTES // MIB} MiB, which no such file is")
        return path.read_bytes()

    def text(self, name: str) -> str:
        """Raises as data does, and InvalidRequest for what is no UTF-8."""
        try:
            return self.data(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{name} is not text in UTF-8") from error

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object; NaN and infinities are let through, as Python writes them. Raises as text does."""
        try:
            value = json.loads(self.text(name))
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"{name} is not valid JSON: {error}") from error
        if not isinstance(value, dict):
            raise InvalidRequest(f"{name} is no JSON object")
        return value

    def json_if_there(self, name: str) -> dict[str, Any]:
        return self.json(name) if self.has(name) else {}

    def json_list(self, name: str) -> list[Any]:
        """A JSON list, empty where the file is missing. Raises as text does."""
        if not self.has(name):
            return []
        try:
            value = json.loads(self.text(name))
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"{name} is not valid JSON: {error}") from error
        return value if isinstance(value, list) else []

    def tensors(self) -> dict[str, Tensor]:
        """Of all shards beside config.json. Raises InvalidRequest, OSError."""
        shards = sorted(name for name in self._files if name.endswith(".safetensors") and "/" not in name)
        if not shards:
            raise InvalidRequest("no safetensors file lies beside config.json; give the folder that holds both")
        found: dict[str, Tensor] = {}
        for shard in shards:
            for name, tensor in read_header(self._files[shard], shard).items():
                if name in found:
                    raise InvalidRequest(f"the tensor {name} is in two of the files ({', '.join(shards)})")
                found[name] = tensor
        self._check_index(shards, found)
        return found

    def _check_index(self, shards: list[str], found: Mapping[str, Tensor]) -> None:
        index = self.json_if_there(INDEX).get("weight_map")
        if not isinstance(index, dict):
            return
        files = sorted({str(file) for file in index.values()} - set(shards))
        if files:
            raise InvalidRequest(f"a part of the model is missing: {_listed(files)} (named in {INDEX})")
        missing = sorted(set(index) - set(found))
        if missing:
            raise InvalidRequest(
                f"a part of the model is incomplete: {_listed(missing)} is in no file; download it again"
            )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(name[:100] for name in names[:3]) + more
