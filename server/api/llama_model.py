"""Which model a request of llama.cpp's clients means, and how its answers are sampled.

Those clients know one model and leave `model` out; then the one is meant that stays longest of those that are loaded.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request

from server.api.services import services_of
from server.api.wire_fields import Fields
from server.inference import Tokenizer
from server.messages.options import SamplingOptions

_OTHER_NAMES = {"num_predict": "n_predict", "num_keep": "n_keep", "max_predict_ms": "t_max_predict_ms"}


def longest_loaded(request: Request) -> str | None:
    loaded = (model.name for model in services_of(request).scheduler.running() if model.state == "ready")
    return next(loaded, None)


def with_model(request: Request, fields: Fields) -> Fields:
    """The members with a `model`, where one is loaded."""
    if "model" in fields:
        return fields
    loaded = longest_loaded(request)
    return Fields({**fields.members, "model": loaded}) if loaded else fields


def tokenizer_of(request: Request) -> Tokenizer:
    services = services_of(request)
    return Tokenizer(services.catalog, services.scheduler)


def settings_object(sampling: SamplingOptions) -> dict[str, Any]:
    """The options of an answer under the names of llama.cpp's server."""
    told = msgspec.structs.asdict(sampling)
    named = {_OTHER_NAMES.get(name, name): value for name, value in told.items()}
    biases = [{"token": token, "bias": bias if abs(bias) < 1e30 else None} for token, bias in sampling.logit_bias]
    return {**named, "max_tokens": sampling.num_predict, "logit_bias": biases}
