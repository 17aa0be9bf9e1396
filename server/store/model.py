"""A model as its manifest describes it: weights, texts, parameters and what is known of their sizes."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from server.errors import InvalidGguf, ModelNotFound, StoreError, Unsupported
from server.messages.chat import Message, ToolCall
from server.messages.models import ModelSpec, ProjectorShape
from server.messages.names import ModelName
from server.store import digests, manifest
from server.store.blobs import Blobs
from server.store.foreign import loadable
from server.store.gguf import GgufHeader
from server.store.gguf_projector import projector_shape
from server.store.gguf_tables import UNKNOWN_FILE_TYPE, parameter_size
from server.store.headers import Headers
from server.store.links import LinkedPart, Links
from server.store.manifest import Config, Manifest
from server.store.manifests import Fingerprint

_TEXTS = frozenset({
    manifest.TEMPLATE, manifest.PROMPT, manifest.SYSTEM, manifest.PARAMS, manifest.MESSAGES, manifest.LICENSE,
})  # fmt: skip
_FILES = frozenset({manifest.MODEL, manifest.ADAPTER, manifest.PROJECTOR, manifest.DRAFT})


@dataclass(frozen=True, kw_only=True, repr=False)
class Model:
    """`digest` is the SHA-256 of the manifest in hex. `template` None means that no layer holds one.
    `model_path` is None where no layer holds weights: a model that lives elsewhere, or one in tensor layers."""

    name: ModelName
    digest: str
    manifest: Manifest
    config: Config
    modified_at: datetime.datetime
    model_path: Path | None = None
    adapter_paths: tuple[Path, ...] = ()
    projector_paths: tuple[Path, ...] = ()
    draft_path: Path | None = None
    template: str | None = None
    system: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    licenses: tuple[str, ...] = ()
    parent_model: str = ""
    text_paths: tuple[Path, ...] = ()
    file_sizes: Mapping[Path, int] = field(default_factory=dict)
    headers: Headers = field(default_factory=Headers, compare=False)
    links: Links = field(default_factory=Links, compare=False)

    def __repr__(self) -> str:
        words = (self.name.short, self.config.model_family, self.config.model_type, self.config.file_type)
        return f"<{' '.join(word for word in words if word)}>"

    @property
    def size(self) -> int:
        """Bytes of all its blobs."""
        return self.manifest.size

    @property
    def linked(self) -> tuple[LinkedPart, ...]:
        """Its files that belong to another program, and how they are now."""
        parts = (self.links.look(path, size, self.name.short) for path, size in self.file_sizes.items())
        return tuple(part for part in parts if part is not None)

    def check_files(self) -> None:
        """Raises LinkedFileLost, with a sentence that names the file, where one of another program is gone or is not
        what was imported. May read the whole file."""
        for path, size in self.file_sizes.items():
            self.links.check(path, size, self.name.short)

    @property
    def is_remote(self) -> bool:
        """It lives on another server and can only be listed and shown."""
        return bool(self.config.remote_host or self.config.remote_model)

    @property
    def gguf(self) -> GgufHeader | None:
        """None where there are no weights, or none that can be used. Read when first asked for; a file that another
        program deletes is gone at the second look, so look once."""
        return self.headers.get(self.model_path) if self.model_path else None

    @property
    def projector(self) -> GgufHeader | None:
        return self.headers.get(self.projector_paths[0]) if self.projector_paths else None

    @property
    def family(self) -> str:
        return self.config.model_family or (gguf.architecture if (gguf := self.gguf) else "")

    @property
    def quantization(self) -> str:
        known = self.config.file_type
        if known not in ("", UNKNOWN_FILE_TYPE) or (gguf := self.gguf) is None:
            return known
        return gguf.file_type

    @property
    def context_length(self) -> int:
        """What the model was trained for; 0 where nobody says."""
        return self.config.context_length or (gguf.number("context_length") if (gguf := self.gguf) else 0)

    @property
    def embedding_length(self) -> int:
        return self.config.embedding_length or (gguf.number("embedding_length") if (gguf := self.gguf) else 0)

    def details(self, *, with_lengths: bool = False) -> dict[str, Any]:
        """The object `details` of tags, ps and show; only tags has the lengths."""
        families = self.config.model_families
        size = self.config.model_type or (parameter_size(gguf.parameter_count) if (gguf := self.gguf) else "")
        details: dict[str, Any] = {
            "parent_model": self.parent_model,
            "format": self.config.model_format,
            "family": self.family,
            "families": None if families is None else list(families),
            "parameter_size": size,
            "quantization_level": self.quantization,
        }
        if with_lengths:
            lengths = {"context_length": self.context_length, "embedding_length": self.embedding_length}
            details |= {key: value for key, value in lengths.items() if value}
        return details

    def spec(self) -> ModelSpec:
        """What the scheduler needs. Raises StoreError for a model that has no weights here, InvalidGguf for files that
        must not reach llama.cpp, Unsupported for a model that was built for another engine."""
        if self.model_path is None:
            raise StoreError(f"{self.name.short} has no weights on this computer, so it cannot be run; pull it again")
        header, projector = self.headers.get(self.model_path), self.projector
        adapters = [self.headers.get(path) for path in self.adapter_paths]
        if header is None or None in adapters or (projector is None and self.projector_paths):
            raise InvalidGguf(
                f"{self.name.short} cannot be run: a file of it is missing or damaged. The log has the details; pull "
                "or create the model again."
            )
        try:
            files = loadable(header, projector)
            width = files.header.number("embedding_length")
            sizes = projector_shape(files.projector, width) if files.projector else ProjectorShape()
        except (InvalidGguf, Unsupported) as error:
            raise type(error)(f"{self.name.short} cannot be run: {error}") from error
        return ModelSpec(
            name=self.name.short,
            digest=self.digest,
            path=str(self.model_path),
            model_patches=files.patches,
            adapter_paths=tuple(map(str, self.adapter_paths)),
            adapter_bytes=sum(tensor.size for each in adapters if each is not None for tensor in each.tensors),
            projector_path=self._projector_path(has_own=files.projector is not None),
            projector_patches=files.projector_patches,
            projector=sizes,
            shape=files.header.shape(),
            can_complete=not files.header.has_pooling,
            has_vision=bool(self.projector_paths) or files.header.has_vision,
        )

    def _projector_path(self, *, has_own: bool) -> str:
        """Its projector's file: one of its own, or the model's, where the part that sees is inside."""
        if self.projector_paths:
            return str(self.projector_paths[0])
        return str(self.model_path) if has_own else ""


def load_model(name: ModelName, data: bytes, found: Fingerprint, blobs: Blobs, headers: Headers, links: Links) -> Model:
    """Put the layers of a manifest together, the last of a kind winning where there can be but one.

    Raises StoreError for what cannot be understood, ModelNotFound where the config or a text is missing.
    """
    decoded = manifest.decode_manifest(data)
    try:
        config_digest = decoded.config.digest
        config = manifest.decode_config(blobs.read(config_digest)) if config_digest else Config()
        texts = [(layer.media_type, blobs.read(layer.digest)) for layer in decoded.layers if layer.media_type in _TEXTS]
    except FileNotFoundError as error:
        raise ModelNotFound(log=f"a part of {name.full} is missing: {error}") from None
    weights = [layer for layer in decoded.layers if layer.media_type == manifest.MODEL]
    return Model(
        name=name,
        digest=digests.digest_of(data).removeprefix("sha256:"),
        manifest=decoded,
        config=config,
        modified_at=datetime.datetime.fromtimestamp(found.modified_ns / 1e9).astimezone(),
        model_path=blobs.path(weights[-1].digest) if weights else None,
        adapter_paths=_paths(decoded, manifest.ADAPTER, blobs),
        projector_paths=_paths(decoded, manifest.PROJECTOR, blobs),
        draft_path=next(iter(_paths(decoded, manifest.DRAFT, blobs)[-1:]), None),
        parent_model=weights[-1].source if weights else "",
        text_paths=tuple(_needed_paths(decoded, blobs)),
        file_sizes={blobs.path(layer.digest): layer.size for layer in decoded.layers if layer.media_type in _FILES},
        headers=headers,
        links=links,
        **_text_fields(texts),
    )


def _paths(decoded: Manifest, media_type: str, blobs: Blobs) -> tuple[Path, ...]:
    return tuple(blobs.path(layer.digest) for layer in decoded.layers if layer.media_type == media_type)


def _needed_paths(decoded: Manifest, blobs: Blobs) -> Iterator[Path]:
    if decoded.config.digest:
        yield blobs.path(decoded.config.digest)
    for layer in decoded.layers:
        if layer.media_type in _TEXTS:
            yield blobs.path(layer.digest)


def _text_fields(texts: list[tuple[str, bytes]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    params: dict[str, Any] = {}
    licenses: list[str] = []
    for media_type, data in texts:
        text = data.decode("utf-8", "replace")
        if media_type in (manifest.TEMPLATE, manifest.PROMPT):
            fields["template"] = text
        elif media_type == manifest.SYSTEM:
            fields["system"] = text
        elif media_type == manifest.LICENSE:
            licenses.append(text)
        elif media_type == manifest.PARAMS:
            params |= _json(text, dict, "parameters")
        else:
            fields["messages"] = tuple(_message(item) for item in _json(text, list, "messages"))
    return fields | {"params": params, "licenses": tuple(licenses)}


def _json(text: str, kind: type, what: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"the model's {what} are damaged; pull or create it again", log=str(error)) from error
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise StoreError(f"the model's {what} are damaged; pull or create it again")
    return value


def _message(item: Any) -> Message:
    try:
        stored = {key: value for key, value in item.items() if value is not None}
        images = tuple(base64.b64decode(image) for image in stored.get("images", ()))
        calls = tuple(msgspec.convert(call, ToolCall) for call in stored.get("tool_calls", ()))
        texts = ("role", "content", "thinking", "tool_name", "tool_call_id")
        fields = {key: msgspec.convert(stored[key], str) for key in texts if key in stored}
    except (AttributeError, TypeError, binascii.Error, msgspec.ValidationError) as error:
        raise StoreError("the model's messages are damaged; create it again", log=str(error)) from error
    return Message(images=images, tool_calls=calls, **fields)
