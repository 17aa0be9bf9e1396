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
from server.api.wire_reading import ANYTHING, FLAG, NUMBER, OBJECT, TEXT, WHOLE, Schema, either, list_of
from server.errors import InvalidRequest, ModelNotFound
from server.messages.chat import GenerationRequest
from server.messages.names import split_source
from server.messages.options import OPTION_KINDS, read_options

KEEP_ALIVE_HEADER = "x-puna-keep-alive"
NUM_CTX_HEADER = "x-puna-num-ctx"
_TOP_LEVEL = tuple(name for name in OPTION_KINDS if name not in ("stop", "num_predict"))
_KINDS: dict[str, Schema] = {
    "integer": WHOLE,
    "float32": NUMBER,
    "boolean": FLAG,
    "array": list_of(TEXT),
    "bias": either(OBJECT, list_of(ANYTHING)),
}
# What any request of these dialects may hold besides its own members.
RUNNING: dict[str, Schema] = {
    "model": TEXT,
    "options": OBJECT,
    "keep_alive": either(TEXT, NUMBER),
    "truncate": FLAG,
    "shift": FLAG,
    "grammar": TEXT,
    "t_max_predict_ms": WHOLE,
    "cache_prompt": FLAG,
    "thinking_budget_tokens": WHOLE,
    "reasoning_budget_tokens": WHOLE,
    "reasoning_budget_message": TEXT,
    **{name: _KINDS[OPTION_KINDS[name]] for name in _TOP_LEVEL},
}


class Running(msgspec.Struct, frozen=True):
    """The parts of a GenerationRequest that no dialect has a member for. `truncate` None is the dialect's choice."""

    options: dict[str, Any]
    keep_alive_seconds: float | None = None
    truncate: bool | None = None
    shift: bool | None = None
    grammar: str = ""
    use_cache: bool = True
    thinking_budget_tokens: int | None = None
    thinking_budget_message: str = ""

    def generation(self, thinking_budget_tokens: int | None = None) -> dict[str, Any]:
        """The members of a GenerationRequest but `truncate`. The dialect's own limit of thoughts wins."""
        told = {name: getattr(self, name) for name in self.__struct_fields__ if name != "truncate"}
        if thinking_budget_tokens is not None:
            told["thinking_budget_tokens"] = thinking_budget_tokens
        return told


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
    if "t_max_predict_ms" in fields:
        options["max_predict_ms"] = fields.integer("t_max_predict_ms")
    options |= {name: fields.get(name) for name in _TOP_LEVEL if name in fields}
    options |= {name: value for name, value in own.items() if value is not None}
    read_options(options)  # a wrong type is told before a model is looked for
    return Running(
        options,
        _keep_alive(fields, headers),
        fields.flag("truncate"),
        fields.flag("shift"),
        grammar=fields.text("grammar") or "",
        use_cache=fields.flag("cache_prompt") is not False,
        thinking_budget_tokens=_budget(fields),
        thinking_budget_message=fields.text("reasoning_budget_message") or "",
    )


def _budget(fields: Fields) -> int | None:
    """How many tokens of thought are allowed; negative is no limit."""
    for name in ("thinking_budget_tokens", "reasoning_budget_tokens"):
        limit = fields.integer(name)
        if limit is not None:
            return limit if limit >= 0 else None
    return None


def refuse_two_forms(generation: GenerationRequest) -> None:
    """Raises RefusedField where a grammar meets what would constrain the answer in another way."""
    for other, has_it in (("a JSON schema", bool(generation.format)), ("tools", bool(generation.tools))):
        if generation.grammar and has_it:
            raise RefusedField(
                f"'grammar' cannot be used together with {other}; leave one of them out.", param="grammar"
            )


def as_set(generation: GenerationRequest, fields: Fields, long_prompts: str) -> GenerationRequest:
    """The request under the setting for prompts that are too long; what the client says of them wins."""
    if long_prompts == "auto" or "truncate" in fields or "truncation" in fields:
        return generation
    return msgspec.structs.replace(generation, truncate=long_prompts == "drop")


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
