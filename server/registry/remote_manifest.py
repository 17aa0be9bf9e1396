"""A manifest from a registry: fetched with a bound, and believed in nothing that a path or a buffer is made of."""

from __future__ import annotations

import json

from server.errors import PunaError, RegistryError, StoreError, Unsupported
from server.messages.names import ModelName
from server.registry.session import Session
from server.store import manifest
from server.store.manifest import MANIFEST_TYPE, MAX_MANIFEST_BYTES, Layer, Manifest, decode_manifest

NO_MLX = "this model requires MLX support, but the MLX runtime is not available"
MAX_BLOB_BYTES = 2**53  # what numbers of JSON hold exactly
MAX_TEXT_BYTES = 64 * 1024 * 1024
_TEXTS = frozenset({
    manifest.TEMPLATE, manifest.PROMPT, manifest.SYSTEM, manifest.PARAMS, manifest.MESSAGES, manifest.LICENSE,
})  # fmt: skip


class Fetched:
    """What the registry sent, byte for byte, and what it means."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.manifest = read_manifest(data)

    @property
    def layers(self) -> list[Layer]:
        """Every blob that the model needs, the config last; one that is named twice is there twice."""
        config = [self.manifest.config] if self.manifest.config.digest else []
        return [*self.manifest.layers, *config]


async def fetch_manifest(session: Session, name: ModelName) -> Fetched:
    """Raises RegistryError, Unsupported; both begin with what was tried."""
    try:
        url = session.url(f"manifests/{name.tag}")
        _, data = await session.fetch("GET", url, {"Accept": MANIFEST_TYPE}, most_bytes=MAX_MANIFEST_BYTES)
        return Fetched(data)
    except Unsupported:
        raise
    except RegistryError as error:
        message = f"pull model manifest: {error}"
        raise type(error)(message, log=f"pull model manifest: {error.log}", status=error.status) from error
    except PunaError as error:
        raise RegistryError(f"pull model manifest: {error}", log=error.log) from error


def read_manifest(data: bytes) -> Manifest:
    """Raises StoreError for what cannot be a model's manifest, Unsupported for a model of another engine."""
    found = decode_manifest(data)
    if not found.layers and _is_index(data):
        raise Unsupported("this is a list of container images, not a model")
    if any(layer.media_type == manifest.TENSOR for layer in found.layers):
        raise Unsupported(NO_MLX)
    sizes: dict[str, int] = {}
    for layer in (*found.layers, found.config):
        _check(layer)
        if sizes.setdefault(layer.digest, layer.size) != layer.size:
            raise StoreError("the manifest gives one layer two sizes")
    if not found.config.digest:
        raise StoreError("the manifest names no config; it is not that of a model")
    return found


def _check(layer: Layer) -> None:
    if layer.digest != layer.digest.lower() or (layer.digest and not layer.digest.startswith("sha256:")):
        raise StoreError("the manifest names a layer that has no valid digest")
    if layer.size > MAX_BLOB_BYTES:
        raise StoreError("the manifest names a layer of impossible size")
    if layer.media_type in _TEXTS and layer.size > MAX_TEXT_BYTES:
        raise StoreError(f"the manifest names a text of {layer.size} bytes; at most {MAX_TEXT_BYTES} are read")


def _is_index(data: bytes) -> bool:
    try:
        value, _ = json.JSONDecoder().raw_decode(data.decode("utf-8", "replace").lstrip())
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "manifests" in value
