"""From the place of a GGUF file to the name of a model.

`publisher/repository:quantization` where the folders tell them, as LM Studio's, Hugging Face's and llama.cpp's do, else
the file's own name. Everything a name may not hold becomes a hyphen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import PurePath

import msgspec

from server.messages.names import DEFAULT_NAMESPACE, ModelName
from server.store.importing.places import Source

MAX_PART = 80
_QUANTIZATION = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q\d(?:_[0-9A-Z]+)*|TQ\d_\d|BF16|F16|FP16|F32|FP32|MXFP4(?:_MOE)?|NVFP4))(?=$|[-._])",
    re.IGNORECASE,
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_GGUF_ENDING = re.compile(r"[-._]?(?:i1[-._])?gguf$", re.IGNORECASE)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a path tells. `group` is the same for files that belong together; "" where nothing ties them."""

    stem: str
    publisher: str = ""
    repository: str = ""
    group: str = ""


def origin_of(
    path: PurePath, root: PurePath, repositories: Iterable[tuple[str, str]] = (), source: Source | None = None
) -> Origin:
    """`root` is the folder that was looked through. `repositories` are those that a folder of llama.cpp's has lists
    of. The cases, in the order they are tried:

    1. `models--<publisher>--<repository>/snapshots/<revision>/…`: Hugging Face's cache, wherever it lies.
    2. A file named `<publisher>_<repository>_…` after one of `repositories`: llama.cpp's cache.
    3. `<models>/<publisher>/<repository>/<file>` in a folder of LM Studio's.
    4. Any other file: only its own name counts.
    """
    stem = _SHARD.sub("", path.name.removesuffix(".gguf").removesuffix(".GGUF"))
    parts = path.parts
    for index, part in enumerate(parts[:-1]):
        if part.startswith("models--") and parts[index + 1 : index + 2] == ("snapshots",):
            publisher, _, repository = part.removeprefix("models--").partition("--")
            group = str(type(path)(*parts[: index + 3]))
            if not repository:
                publisher, repository = "", publisher
            return Origin(stem=stem, publisher=publisher, repository=repository, group=group)
    for publisher, repository in repositories:
        prefix = f"{publisher}_{repository}_"
        if stem.startswith(prefix):
            own = stem.removeprefix(prefix)
            return Origin(stem=own, publisher=publisher, repository=repository, group=f"{path.parent}/{prefix}")
    inner = path.relative_to(root).parts if path.is_relative_to(root) else ()
    if len(inner) >= 3 and (source == "lmstudio" or _is_lmstudio(root)):
        return Origin(stem=stem, publisher=inner[0], repository=inner[1], group=str(root / inner[0] / inner[1]))
    return Origin(stem=stem)


def _is_lmstudio(root: PurePath) -> bool:
    return root.name == "models" and root.parent.name in (".lmstudio", "lm-studio")


def quantization_of(stem: str) -> str:
    """As the file's name says it, "" where it does not."""
    found = _QUANTIZATION.findall(stem)
    return found[-1] if found else ""


def base_of(stem: str) -> str:
    """Without the quantization and what follows it."""
    match = None
    for found in _QUANTIZATION.finditer(stem):
        match = found
    base = stem[: match.start()] if match and match.start() else stem
    return _GGUF_ENDING.sub("", base) or stem


def suggested_name(origin: Origin, file_type: str, is_taken: Callable[[ModelName], bool]) -> ModelName:
    """The first that is free of: after the repository, after the file, and that with a number. `file_type` is what the
    header says, "" where nothing."""
    namespace = _namespace(origin.publisher)
    tag = _part(quantization_of(origin.stem) or file_type, "latest")
    repository = _GGUF_ENDING.sub("", origin.repository)
    models = [_part(text, "model") for text in (repository, base_of(origin.stem)) if text]
    for model in models:
        name = _named(namespace, model, tag)
        if not is_taken(name):
            return name
    number = 2
    while True:
        name = _named(namespace, f"{models[-1][: MAX_PART - 5]}-{number}", tag)
        if not is_taken(name):
            return name
        number += 1


def _named(namespace: str, model: str, tag: str) -> ModelName:
    return ModelName.parse(f"{namespace}/{model}:{tag}")


def _namespace(text: str) -> str:
    found = re.sub(r"[^A-Za-z0-9_-]+", "-", text).lstrip("-")[:MAX_PART]
    return found or DEFAULT_NAMESPACE


def _part(text: str, otherwise: str) -> str:
    found = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip("-.")[:MAX_PART].rstrip("-.")
    return found or otherwise
