"""The files that a Modelfile's FROM, ADAPTER and DRAFT lines name, and the names under which the server gets them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from server.cli.frame import Failure

ZIP_MARK = b"PK\x03\x04"
# The first group that has files is the model; PyTorch's two must really be archives.
_WEIGHTS: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("model*.safetensors", "*/model*.safetensors"), False),
    (("adapter*.safetensors", "adapters.safetensors"), False),
    (("consolidated*.safetensors",), False),
    (("pytorch_model*.bin",), True),
    (("consolidated*.pth",), True),
    (("*.gguf",), False),
    (("*.bin",), False),
)
_BESIDE = ("*.json", "*/*.json", "chat_template.jinja", "tokenizer.model", "*/tokenizer.model")
_LOOKS_LIKE_PATH = re.compile(r"(?:[~./\\]|[A-Za-z]:[\\/])|.*\.(?:gguf|safetensors|bin)$", re.IGNORECASE | re.DOTALL)


def local_path(value: str, folder: Path) -> Path | None:
    """The file or folder that a value names, seen from the Modelfile's folder; None for the name of a model.

    Raises Failure for what can only be a path and does not exist.
    """
    try:
        path = folder / Path(value).expanduser()
    except RuntimeError as error:
        raise Failure(f"{value}: {error}") from error
    if value and path.exists():
        return path
    if _LOOKS_LIKE_PATH.match(value):
        raise Failure(f"{value} does not exist (seen from {folder})")
    return None


def files_of(path: Path) -> list[Path]:
    """A file itself, or what a folder holds of a model. Raises Failure."""
    if not path.is_dir():
        return [path]
    weights = next((found for patterns, is_zip in _WEIGHTS if (found := _matching(path, patterns, is_zip))), [])
    if not weights:
        raise Failure(f"no Modelfile or model files found in {path}")
    return sorted({*weights, *_matching(path, _BESIDE, is_zip=False)})


def _matching(folder: Path, patterns: Iterable[str], is_zip: bool) -> list[Path]:
    found = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    root = folder.resolve()
    for path in found:
        if not path.resolve().is_relative_to(root):
            raise Failure(
                f"insecure path: {path} leads out of the folder; where it is a link into a download cache, "
                f"download the model into a folder of its own (huggingface-cli download --local-dir)"
            )
    return [path for path in found if not is_zip or _begins_with(path, ZIP_MARK)]


def _begins_with(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def relative_names(paths: Sequence[Path]) -> dict[str, Path]:
    """Names with slashes, relative to the folder that all have in common."""
    absolute = [path.absolute() for path in paths]
    if not absolute:
        return {}
    root = os.path.commonpath([path.parent for path in absolute])
    return {path.relative_to(root).as_posix(): path for path in absolute}
