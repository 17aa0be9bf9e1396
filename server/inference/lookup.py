"""From the name in a request to a model, with the sentence that each endpoint's clients know for a failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from server.errors import Forbidden, InvalidModelName, InvalidRequest, ModelNotFound, PunaError
from server.messages.names import ModelName, split_source

Endpoint = Literal["generate", "chat", "embed", "embeddings", "show"]

CLOUD_DISABLED = "ollama cloud is disabled: remote model is unavailable"
CLOUD_DETAILS_DISABLED = "ollama cloud is disabled: remote model details are unavailable"

_REQUIRED = {"chat", "embeddings", "show"}


def requested_name(raw: str, endpoint: Endpoint) -> ModelName:
    """The name that was asked for, or the endpoint's refusal of it. A name in the cloud is refused: Puna runs models
    on this machine alone."""
    if not raw.strip():
        if endpoint in _REQUIRED:
            raise InvalidRequest("model is required")
        raise ModelNotFound(f"model '{raw}' not found")
    source = split_source(raw)
    if source.is_cloud:
        raise Forbidden(CLOUD_DETAILS_DISABLED if endpoint == "show" else CLOUD_DISABLED)
    try:
        return ModelName.parse(source.text)
    except InvalidModelName:
        raise InvalidModelName("invalid model name") from None


def missing(raw: str, name: ModelName, endpoint: Endpoint) -> PunaError:
    """The endpoint's sentence for a model that is not installed."""
    sentences: dict[Endpoint, Callable[[], str]] = {
        "generate": lambda: f"model '{raw}' not found",
        "chat": lambda: f"model '{raw}' not found",
        "show": lambda: f"model '{name.short}' not found",
        "embed": lambda: f'model "{raw}" not found, try pulling it first',
        "embeddings": lambda: f'model "{raw}" not found, try pulling it first',
    }
    return ModelNotFound(sentences[endpoint]())


def without_weights(raw: str, path: Path) -> PunaError:
    """The sentence for a model that is listed, but whose weights are gone."""
    return ModelNotFound(f'model "{raw}" not found, try pulling it first', log=f"the weights of {raw} are gone: {path}")


def is_local(raw: str) -> bool:
    """Whether the name says `:local`: the model on this machine or none."""
    return split_source(raw).is_local
