"""Pull and push: the OCI distribution protocol as Ollama's registry speaks it, with one download client for all."""

from server.registry.limits import Limits
from server.registry.registry import Registry

__all__ = ["Limits", "Registry"]
