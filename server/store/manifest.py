"""A model's manifest and config: the two JSON files that name and describe its layers.

Source of the format: Docker's image manifest version 2 with Ollama's media types.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from server.errors import StoreError
from server.store import encoding
from server.store.digests import is_digest

PREFIX = "application/vnd.ollama.image."
MODEL, PROJECTOR, ADAPTER, DRAFT = (PREFIX + kind for kind in ("model", "projector", "adapter", "draft"))
TEMPLATE, PROMPT, SYSTEM, PARAMS = (PREFIX + kind for kind in ("template", "prompt", "system", "params"))
MESSAGES, LICENSE = (PREFIX + kind for kind in ("messages", "license"))
TENSOR = PREFIX + "tensor"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_LAYERS = 10_000

_Decoded = TypeVar("_Decoded")


class Layer(msgspec.Struct, frozen=True, kw_only=True, rename={"media_type": "mediaType", "source": "from"}):
    """A blob and what it is for. `source` is the short name of the model that the layer was taken from."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    source: str = ""
    name: str = ""

    def fields(self) -> dict[str, Any]:
        """In the order of the file; the last two only where they are set."""
        fields: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return fields | ({"from": self.source} if self.source else {}) | ({"name": self.name} if self.name else {})


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is made of."""

    config: Layer = Layer()
    layers: tuple[Layer, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all layers and the config; a blob that is named twice counts twice."""
        return self.config.size + sum(layer.size for layer in self.layers)

    @property
    def digests(self) -> frozenset[str]:
        """Every blob that the model needs, as `sha256:<lower-case hex>`."""
        named = (layer.digest for layer in (*self.layers, self.config))
        return frozenset(digest.lower().replace("sha256-", "sha256:", 1) for digest in named if digest)

    def encode(self) -> bytes:
        layers = [layer.fields() for layer in self.layers]
        return encoding.encode(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": self.config.fields(),
                "layers": layers or None,
            }
        )


class DraftConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The small model that guesses ahead of the large one."""

    model_format: str = ""
    architecture: str = ""
    tensor_prefix: str = ""
    config: Any = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model without opening its weights. `model_type` is the text of its size, such as 3.2B;
    `file_type` the name of its quantization."""

    model_format: str = ""
    model_family: str = ""
    model_families: tuple[str, ...] | None = None
    model_type: str = ""
    file_type: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    remote_model: str = ""
    capabilities: tuple[str, ...] = ()
    context_length: int = 0
    embedding_length: int = 0
    base_name: str = ""
    draft: DraftConfig | None = None

    def encode(self) -> bytes:
        fields = msgspec.to_builtins(self)
        always = ("model_format", "model_family", "model_families", "model_type", "file_type")
        if self.draft is not None:
            fields["draft"] = {key: value for key, value in fields["draft"].items() if value}
        kept = {key: value for key, value in fields.items() if value or key in always}
        return encoding.encode(kept | {"architecture": "amd64", "os": "linux"})


def decode_manifest(data: bytes) -> Manifest:
    """Raises StoreError for bytes that are no manifest, or one that names blobs in a form that could be a path."""
    manifest = _convert(_first_object(data, "manifest"), Manifest, "manifest")
    if len(manifest.layers) > MAX_LAYERS:
        raise StoreError(f"the model's manifest names {len(manifest.layers)} layers; at most {MAX_LAYERS} are read")
    for layer in (*manifest.layers, manifest.config):
        # Only the config may have no digest: models that live elsewhere were once stored so.
        if not (is_digest(layer.digest) or (layer is manifest.config and not layer.digest)):
            raise StoreError("the model's manifest names a layer that has no valid digest; pull or create it again")
        if layer.size < 0:
            raise StoreError("the model's manifest names a layer of negative size; pull or create it again")
    return manifest


def decode_config(data: bytes) -> Config:
    """Raises StoreError. Keys that nobody knows are passed over."""
    return _convert(_first_object(data, "config"), Config, "config")


def _first_object(data: bytes, what: str) -> dict[str, Any]:
    """What follows the object is ignored, as it always was."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise StoreError(f"the model's {what} is larger than {MAX_MANIFEST_BYTES} bytes")
    try:
        value, _ = json.JSONDecoder().raw_decode(data.decode("utf-8", "replace").lstrip())
    except (ValueError, RecursionError) as error:
        raise StoreError(f"the model's {what} is damaged; pull or create the model again", log=str(error)) from error
    if not isinstance(value, dict):
        raise StoreError(f"the model's {what} is damaged; pull or create the model again")
    return value


def _without_nulls(value: Any) -> Any:
    """A null is as if absent, except in `model_families`, whose absence is null anyway."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _convert(value: dict[str, Any], kind: type[_Decoded], what: str) -> _Decoded:
    try:
        return msgspec.convert(_without_nulls(value), kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise StoreError(f"the model's {what} is damaged; pull or create the model again", log=str(error)) from error
