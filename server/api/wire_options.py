"""What any request of the OpenAI and Anthropic dialects may say beyond its dialect: how the model is run.

For the model's own options, in a library's `extra_body`: Ollama's names at the top level (`top_k`, `num_ctx`, …) or
inside `options`; what the dialect itself names wins over the top level, and that over `options`.
`keep_alive` (seconds, or a duration such as "5m"), `truncate` and `shift` are those of the native API. Clients that
cannot add members say the same by header: `X-Puna-Keep-Alive` and `X-Puna-Num-Ctx`; a member wins over its header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.datastructures import Headers

from server.api.body import Place
from server.api.values import read_keep_alive
from server.api.wire_fields import Fields, RefusedField
from server.api.wire_reading import FLAG, NUMBER, OBJECT, TEXT, WHOLE, Schema, either, list_of
from server.errors import InvalidRequest, ModelNotFound, NotImplementedYet
from server.messages.names import split_source
from server.messages.options import OPTION_KINDS, read_options

KEEP_ALIVE_HEADER = "x-puna-keep-alive"
NUM_CTX_HEADER = "x-puna-num-ctx"
_TOP_LEVEL = tuple(name for name in OPTION_KINDS if name not in ("stop", "num_predict"))
_KINDS: dict[str, Schema] = {"integer": WHOLE, "float32": NUMBER, "boolean": FLAG, "array": list_of(TEXT)}
# What any request of these dialects may hold besides its own members.
RUNNING: dict[str, Schema] = {
    "model": TEXT,
    "options": OBJECT,
    "keep_alive": either(TEXT, NUMBER),
    "truncate": FLAG,
    "shift": FLAG,
    "grammar": TEXT,
    **{name: _KINDS[OPTION_KINDS[name]] for name in _TOP_LEVEL},
}


class Running(msgspec.Struct, frozen=True):
    """The parts of a GenerationRequest that no dialect has a member for. `truncate` None is the dialect's choice."""

    options: dict[str, Any]
    keep_alive_seconds: float | None = None
    truncate: bool | None = None
    shift: bool | None = None


def read_model(fields: Fields) -> str:
    """The name as it was sent. Raises RefusedField where there is none, ModelNotFound for one of Ollama's cloud."""
    model = fields.text("model") or ""
    if not model.strip():
        raise fields.refuse("model", "model is required", "missing_required_parameter")
    refuse_cloud(model)
    return model


def refuse_cloud(model: str) -> None:
    """Puna runs models on this machine alone, so what is in a cloud is not there."""
    if split_source(model).is_cloud:
        raise ModelNotFound(f"model '{model}' not found")


def read_running(fields: Fields, headers: Headers, own: Mapping[str, Any]) -> Running:
    """`own` are the options that the dialect's members name; those of None are not said."""
    options: dict[str, Any] = {}
    num_ctx = headers.get(NUM_CTX_HEADER)
    if num_ctx is not None:
        options["num_ctx"] = _whole(num_ctx)
    options |= fields.mapping("options") or {}
    options |= {name: fields.get(name) for name in _TOP_LEVEL if name in fields}
    options |= {name: value for name, value in own.items() if value is not None}
    read_options(options)  # a wrong type is told before a model is looked for
    if "grammar" in fields:
        raise NotImplementedYet("Puna cannot constrain answers to a grammar yet; leave `grammar` out.")
    return Running(options, _keep_alive(fields, headers), fields.flag("truncate"), fields.flag("shift"))


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RefusedField(f"The header {NUM_CTX_HEADER} must be a whole number of tokens, not {text!r}.") from None


def _keep_alive(fields: Fields, headers: Headers) -> float | None:
    value = fields.get("keep_alive")
    text = headers.get(KEEP_ALIVE_HEADER)
    if value is None and text is not None:
        value = _number(text)
    if value is None:
        return None
    try:
        seconds: float | None = read_keep_alive(value, Place("keep_alive"))
    except InvalidRequest as error:
        why = f"'keep_alive' must be a number of seconds or a duration such as \"5m\": {error}."
        raise fields.refuse("keep_alive", why) from None
    return seconds


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
