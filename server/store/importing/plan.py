"""What an import would take: models with their names, parts and projectors, and what is left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from server.errors import InvalidGguf, InvalidRequest, NotFound
from server.messages.names import ModelName
from server.store.gguf_split import group_shards, split_count
from server.store.gguf_tables import UNKNOWN_FILE_TYPE, parameter_size
from server.store.importing.names import base_of, suggested_name
from server.store.importing.places import Source
from server.store.importing.scan import FoundFile, find_files
from server.store.manifest import MODEL

if TYPE_CHECKING:
    from server.store.store import Store

# Of several encoders for one model, the one that people mean.
_PROJECTOR_ORDER = ("F16", "BF16", "Q8_0", "F32")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was found. `files` are its parts in their order, `size` their bytes. `is_named`: the user has chosen
    the name."""

    name: ModelName
    files: tuple[FoundFile, ...]
    projector: FoundFile | None = None
    is_named: bool = False

    @property
    def path(self) -> Path:
        return self.files[0].path

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def is_split(self) -> bool:
        return len(self.files) > 1

    def fields(self, known_as: str = "") -> dict[str, object]:
        """For the API and for scripts. The parts of a model must be joined into a copy: `copies_bytes` is its size."""
        header = self.files[0].header
        fields = {
            "path": str(self.path),
            "name": self.name.short,
            "size": self.size,
            "architecture": header.architecture if header else "",
            "quantization": header.file_type if header else "",
            "parameter_size": parameter_size(sum(f.header.parameter_count for f in self.files if f.header)),
            "parts": len(self.files) if self.is_split else 0,
            "copies_bytes": self.size if self.is_split else 0,
            "projector": str(self.projector.path) if self.projector else "",
            "known_as": known_as,
        }
        return {key: value for key, value in fields.items() if value or key in ("path", "name", "size")}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`skipped` are files that no model will be made of, each with its reason."""

    candidates: tuple[Candidate, ...]
    skipped: tuple[FoundFile, ...]


def make_plan(store: Store, paths: Sequence[Path], *, source: Source | None = None, name: str = "") -> Plan:
    """Look through `paths`, which are those of a `source` or any others. A `name` is for a single model. Raises
    InvalidModelName, InvalidRequest, FolderMissing, and NotFound where there is nothing at all."""
    store.check_present()
    wanted = store.resolve(name) if name else None
    found = find_files(paths, store.root, source)
    if not found:
        raise NotFound("there are no GGUF files in " + ", ".join(map(str, paths)))
    sound = [file for file in found if file.header is not None and not file.reason]
    models = [file for file in sound if file.header and file.header.kind == "model"]
    groups, broken = _grouped(models)
    if wanted and len(groups) != 1:
        raise InvalidRequest(f"a name is for one model, and here are {len(groups)}; name the file that you mean")
    projectors = [file for file in sound if file.header and file.header.kind == "projector"]
    used: set[Path] = set()
    candidates: list[Candidate] = []
    namer = _Namer(store)
    for group in groups:
        projector = _projector(group[0], projectors, models)
        if projector is not None:
            used.add(projector.path)
        given = wanted or namer.name(group[0])
        candidates.append(Candidate(name=given, files=tuple(group), projector=projector, is_named=wanted is not None))
    rest = [file for file in found if file.reason] + broken + list(_left_over(sound, used))
    return Plan(candidates=tuple(candidates), skipped=tuple(rest))


def _left_over(sound: Iterable[FoundFile], used: set[Path]) -> Iterable[FoundFile]:
    for file in sound:
        kind = file.header.kind if file.header else "model"
        if kind == "projector" and file.path not in used:
            yield msgspec.structs.replace(
                file, reason="it is the picture or sound encoder of a model not found with it"
            )
        elif kind == "adapter":
            yield msgspec.structs.replace(file, reason="it is a LoRA adapter: name it in ADAPTER of a Modelfile")


def _grouped(models: Sequence[FoundFile]) -> tuple[list[list[FoundFile]], list[FoundFile]]:
    """The parts of each model, and parts of which some are missing."""
    groups: dict[tuple[Path, str], list[FoundFile]] = {}
    for file in models:
        is_part = file.header is not None and split_count(file.header) > 1
        groups.setdefault((file.path.parent, file.origin.stem if is_part else file.path.name), []).append(file)
    whole: list[list[FoundFile]] = []
    broken: list[FoundFile] = []
    for files in groups.values():
        try:
            whole.append(_in_order(files))
        except InvalidGguf as error:
            broken += [msgspec.structs.replace(file, reason=f"it is one of several parts: {error}") for file in files]
    return whole, broken


def _in_order(files: list[FoundFile]) -> list[FoundFile]:
    if len(files) == 1 and files[0].header and split_count(files[0].header) <= 1:
        return files
    by_name = {file.path.name: file for file in files}
    (shards,) = group_shards({name: file.header for name, file in by_name.items() if file.header})
    by_header = {id(file.header): file for file in files}
    return [by_header[id(shard)] for shard in shards]


# ---- the encoder that belongs to a model ---------------------------------------------------------------------------


def _projector(model: FoundFile, projectors: Iterable[FoundFile], models: Sequence[FoundFile]) -> FoundFile | None:
    """Of the same repository, or alone with its model in the same folder, and of the same width."""
    near = [each for each in projectors if _belongs(each, model, models) and _fits(each, model)]
    return min(near, key=_preference, default=None)


def _belongs(projector: FoundFile, model: FoundFile, models: Sequence[FoundFile]) -> bool:
    if model.origin.group or projector.origin.group:
        return model.origin.group == projector.origin.group
    if projector.path.parent != model.path.parent:
        return False
    beside = {base_of(each.origin.stem) for each in models if each.path.parent == model.path.parent}
    return len(beside) == 1 or _bare(projector.origin.stem) in base_of(model.origin.stem).lower()


def _bare(stem: str) -> str:
    """The model's name in the encoder's: `mmproj-Qwen2-VL-f16` is of `qwen2-vl`; what names no model matches none."""
    bare = base_of(stem).lower().removeprefix("mmproj").removesuffix("mmproj").strip("-._")
    return bare if bare and bare != "model" else "\0"


def _fits(projector: FoundFile, model: FoundFile) -> bool:
    if projector.header is None or model.header is None:
        return False
    width = projector.header.number("clip.vision.projection_dim") or projector.header.number("vision.projection_dim")
    return not width or width == model.header.number("embedding_length")


def _preference(file: FoundFile) -> tuple[int, str]:
    kind = file.header.file_type if file.header else ""
    order = _PROJECTOR_ORDER.index(kind) if kind in _PROJECTOR_ORDER else len(_PROJECTOR_ORDER)
    return order, str(file.path)


# ---- names ---------------------------------------------------------------------------------------------------------


class _Namer:
    """Names that neither the store nor this import has given away."""

    def __init__(self, store: Store) -> None:
        self._models = {model.name.full.lower(): model for model in store.list()}
        self._store = store
        self._given: set[str] = set()

    def name(self, file: FoundFile) -> ModelName:
        """That of a model from the same file stays, also when the file has changed since."""
        header = file.header
        kind = header.file_type if header and header.file_type != UNKNOWN_FILE_TYPE else ""
        name = suggested_name(file.origin, kind, lambda each: self._is_taken(each, file))
        self._given.add(name.full.lower())
        return name

    def _is_taken(self, name: ModelName, file: FoundFile) -> bool:
        key = name.full.lower()
        if key in self._given:
            return True
        model = self._models.get(key)
        return model is not None and not any(part.path == str(file.path) for part in model.linked)


def known_names(store: Store) -> Mapping[str, str]:
    """Digests of weights to the name of a model that has them."""
    return {
        layer.digest: model.name.short
        for model in reversed(store.list())
        for layer in model.manifest.layers
        if layer.media_type == MODEL
    }
