"""Requests of `/v1/messages`: Anthropic's form to the internal one."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.datastructures import Headers

from server.api.anthropic_messages import read_messages, read_system
from server.api.anthropic_tools import read_tooling
from server.api.openai_request import format_text
from server.api.services import Services
from server.api.wire_fields import Fields
from server.api.wire_options import read_model, read_running
from server.messages.chat import GenerationRequest, Think

# Not the table of OpenAI's routes: the same word means another step there.
_EFFORTS: dict[str, Think] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}


_MODES: dict[str, Think] = {"enabled": True, "disabled": False}  # all others leave it to the model


class Asked(msgspec.Struct, frozen=True):
    """A request, and how its answer shall look. `most_searches`: how often the model may search the web."""

    generation: GenerationRequest
    stream: bool = False
    only_one_call: bool = False
    stop_sequences: tuple[str, ...] = ()
    most_searches: int = 0


def read_request(fields: Fields, headers: Headers, *, is_count: bool = False, can_search: bool = False) -> Asked:
    """The order of the checks is the reference's. With `is_count` no length is needed: nothing will be generated."""
    model = read_model(fields)
    limit = fields.integer("max_tokens")
    if not is_count and (limit is None or limit <= 0):
        raise fields.refuse("max_tokens", "max_tokens is required and must be positive", "missing_required_parameter")
    messages = (*read_system(fields), *read_messages(fields))
    tooling, most_searches = read_tooling(fields, can_search=can_search)
    stop_sequences = tuple(fields.texts("stop_sequences"))
    own = {
        "temperature": fields.number("temperature"),
        "top_p": fields.number("top_p"),
        "top_k": fields.integer("top_k"),
        "stop": list(stop_sequences) or None,
        "num_predict": limit,
    }
    running = read_running(fields, headers, own)
    generation = GenerationRequest(
        model=model,
        is_chat=True,
        messages=messages,
        tools=tooling.tools,
        must_call=tooling.must_call,
        think=_think(fields),
        format=_format(fields),
        **running.generation(_budget(fields)),
        truncate=running.truncate is True,  # an agent must know when its context is full
    )
    return Asked(generation, fields.flag("stream") is True, tooling.only_one, stop_sequences, most_searches)


def _think(fields: Fields) -> Think:
    """`thinking` decides where it is on or off; otherwise `output_config.effort`, otherwise the model."""
    thinking = fields.fields("thinking") or Fields({}, "thinking")
    decided: Think = _MODES.get(thinking.text("type") or "")
    if decided is not None:
        return decided
    output = fields.fields("output_config") or Fields({}, "output_config")
    return _EFFORTS.get(output.text("effort") or "")


def _budget(fields: Fields) -> int | None:
    thinking = fields.fields("thinking")
    if thinking is None or thinking.text("type") != "enabled":
        return None
    limit = thinking.integer("budget_tokens")
    return limit if limit is None or limit >= 0 else None


def _format(fields: Fields) -> str:
    output = fields.fields("output_config") or Fields({}, "output_config")
    wanted = output.fields("format") or fields.fields("output_format")
    return format_text(wanted, wanted) if wanted is not None else ""


async def with_possible_think(services: Services, asked: Asked) -> Asked:
    """A model that cannot think answers without: clients of this dialect ask every model for thoughts."""
    if not asked.generation.think:
        return asked
    entry = await services.catalog.find(asked.generation.model, "chat")
    if entry.choice.can_think:
        return asked
    changes: dict[str, Any] = {"generation": msgspec.structs.replace(asked.generation, think=None)}
    return msgspec.structs.replace(asked, **changes)
