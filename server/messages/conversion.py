"""What server and converter say to each other: one JSON object a line.

The server writes one ConvertOrder to the converter's standard input and leaves it open; its end is the end of the
server, and ends the converter at once. The converter answers on its standard output; standard error is free text for
the log.
"""

from __future__ import annotations

from typing import Literal

import msgspec

OutputType = Literal["", "F32", "F16", "BF16"]


class AdapterBase(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known of the model that an adapter changes: GGUF's name of its architecture, and its heads."""

    architecture: str
    heads: int
    key_heads: int


class ConvertOrder(msgspec.Struct, frozen=True, kw_only=True):
    """`files`: names relative to the model's folder, and where each of them is. `output_path` is an empty file that the
    GGUF goes into. `output_type`: of the matrices; "" keeps what they have, with F32 written as F16. With `base` the
    folder is a LoRA adapter, which is written as F32."""

    files: dict[str, str]
    output_path: str
    output_type: OutputType = ""
    base: AdapterBase | None = None


class Converting(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """Bytes written, and bytes that the file will have. The first comes before anything is written, and at least one
    each second after it."""

    completed: int
    total: int


class Converted(msgspec.Struct, frozen=True, kw_only=True, tag="converted"):
    """The file is whole and on the disk. `notes`: sentences on what of the model was left out."""

    digest: str
    size: int
    notes: tuple[str, ...] = ()


class ConvertFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """`kind` names a class of server.errors."""

    kind: str
    message: str
    log: str = ""


ConvertEvent = Converting | Converted | ConvertFailed
