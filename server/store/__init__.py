"""Models on disk, in the folder layout that Ollama made: blobs by digest, manifests by name."""

from server.store.create_request import CreateRequest
from server.store.model import Model
from server.store.store import Store

__all__ = ["CreateRequest", "Model", "Store"]
