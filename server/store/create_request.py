"""The body of `POST /api/create`, and what can be said against it before anything is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from server.errors import InvalidDigest, InvalidRequest

QUANTIZATIONS = ("F32", "F16", "BF16", "Q4_K_S", "Q4_K_M", "Q8_0")
_INFO_TEXTS = ("model_family", "base_name", "quantization_level", "parameter_size")
_INFO_NUMBERS = ("context_length", "embedding_length")


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True, rename={"base": "from"}):
    """`base` is the field `from`. `files`, `draft_files` and `adapters` map relative paths to digests of uploaded
    blobs; None means that the field was not sent."""

    model: str = ""
    name: str = ""
    base: str = ""
    files: dict[str, str] | None = None
    draft_files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    template: str = ""
    system: str = ""
    license: str | list[str] = ""
    parameters: dict[str, Any] = {}
    messages: list[dict[str, Any]] = []
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    quantize: str = ""
    quantization: str = ""
    draft_quantize: str = ""
    info: dict[str, Any] = {}
    remote_host: str = ""
    stream: bool = True

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> CreateRequest:
        """From decoded JSON; a null is as if absent. Raises InvalidRequest naming the field."""
        try:
            return msgspec.convert({key: value for key, value in fields.items() if value is not None}, cls)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"the request is not understood: {error}") from error

    @property
    def name_text(self) -> str:
        return self.model or self.name

    @property
    def licenses(self) -> tuple[str, ...]:
        texts = [self.license] if isinstance(self.license, str) else self.license
        return tuple(text for text in texts if text)

    @property
    def quantization_type(self) -> str:
        """In capitals, "" where none was asked for. Raises InvalidRequest."""
        return quantization_type(self.quantize or self.quantization)

    def check(self) -> None:
        """Raises InvalidRequest or InvalidDigest in the order that clients know."""
        for path in (*(self.files or ()), *(self.draft_files or ())):
            if not _is_relative(path):
                raise InvalidRequest("file path must be relative")
        for group in (self.files, self.draft_files, self.adapters):
            if not all((group or {}).values()):
                raise InvalidDigest()
        if self.draft_quantize and not self.draft_files:
            raise InvalidRequest("--draft-quantize requires a DRAFT model")

    def check_info(self) -> None:
        """Raises InvalidRequest."""
        for key in _INFO_TEXTS:
            if key in self.info and not isinstance(self.info[key], str):
                raise InvalidRequest(f'info field "{key}" must be a string')
        for key in _INFO_NUMBERS:
            value = self.info.get(key, 0)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidRequest(f'info field "{key}" must be a number')
            if value < 0 or not math.isfinite(value) or value != int(value):
                raise InvalidRequest(f'info field "{key}" must be a non-negative integer')
        names = self.info.get("capabilities", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidRequest('info field "capabilities" must be a list of strings')


def quantization_type(text: str) -> str:
    """Raises InvalidRequest for a type that is not offered."""
    wanted = text.upper()
    if wanted == "Q4_K":
        return "Q4_K_M"
    if wanted and wanted not in QUANTIZATIONS:
        offered = "F32, F16, Q4_K_S, Q4_K_M, Q8_0"
        raise InvalidRequest(f"unsupported quantization type {wanted} - supported types are {offered}")
    return wanted


def _is_relative(path: str) -> bool:
    return bool(path) and "\\" not in path and "\0" not in path and not {"", ".", ".."} & set(path.split("/"))
