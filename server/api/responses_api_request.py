"""Requests of `/v1/responses`: OpenAI's newer form to the internal one."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.datastructures import Headers

from server.api.openai_request import DEFAULT_OPTIONS, format_text, read_limit, read_top_logprobs, think_of_effort
from server.api.responses_api_items import read_items
from server.api.responses_api_store import StoredResponses
from server.api.responses_api_tools import Offer, read_offer
from server.api.wire_fields import Fields, kind_of
from server.api.wire_options import Running, read_model, read_running, refuse_two_forms
from server.api.wire_runs import as_count
from server.errors import NotFound
from server.messages.chat import GenerationRequest, Message

_LOGPROBS = "message.output_text.logprobs"
_SOURCES = "web_search_call.action.sources"


class Asked(msgspec.Struct, frozen=True):
    """A request, how its answer repeats it, and the items that a later request may continue. `tells_sources`: the
    answer lists the pages that a search found."""

    generation: GenerationRequest
    offer: Offer
    echo: dict[str, Any]
    items: list[Any]
    stream: bool = False
    is_kept: bool = True
    tells_sources: bool = False


class NoSuchResponse(NotFound):
    """There is no response of this id; responses are kept in memory for an hour, unless 'store' is false."""


def read_response(fields: Fields, headers: Headers, kept: StoredResponses, *, can_search: bool = False) -> Asked:
    _refuse_what_is_not_there(fields)
    model = read_model(fields)
    items = [*_earlier(fields, kept), *_input(fields)]
    instructions = fields.text("instructions") or ""
    messages = read_items(items)
    if instructions:
        messages.insert(0, Message(role="system", content=instructions))
    if not messages:
        raise fields.refuse("input", "'input' is empty: there is nothing to answer.", "missing_required_parameter")
    offer = read_offer(fields, can_search=can_search)
    limit = read_limit(fields, "max_output_tokens")
    own = {"temperature": fields.number("temperature"), "top_p": fields.number("top_p"), "num_predict": limit}
    running = read_running(fields, headers, own)
    generation = _generation(fields, model, messages, offer, running)
    refuse_two_forms(generation)
    return Asked(
        as_count(generation) if limit == 0 else generation,
        offer,
        _echo(fields, offer),
        items,
        stream=fields.flag("stream") is True,
        is_kept=fields.flag("store") is not False,
        tells_sources=_SOURCES in fields.items("include"),
    )


def _generation(
    fields: Fields, model: str, messages: list[Message], offer: Offer, running: Running
) -> GenerationRequest:
    reasoning = fields.fields("reasoning") or Fields({}, "reasoning")
    top_logprobs = read_top_logprobs(fields, "top_logprobs")
    truncate = running.truncate if running.truncate is not None else fields.text("truncation") == "auto"
    return GenerationRequest(
        model=model,
        is_chat=True,
        messages=tuple(messages),
        tools=offer.tooling.tools,
        must_call=offer.tooling.must_call,
        think=think_of_effort(reasoning.text("effort")),
        format=_format(fields),
        default_options=DEFAULT_OPTIONS,
        **running.generation(),
        truncate=truncate,
        logprobs=_LOGPROBS in fields.items("include"),
        top_logprobs=top_logprobs,
    )


def _refuse_what_is_not_there(fields: Fields) -> None:
    fields.refuse_any_of(
        ("conversation", "prompt"),
        "'{name}' is not supported: send the conversation in 'input', or continue it with 'previous_response_id'.",
    )
    if fields.flag("background"):
        why = "'background' is not supported: leave it out, and use 'stream' for long answers."
        raise fields.refuse("background", why, "unsupported_parameter")


def _earlier(fields: Fields, kept: StoredResponses) -> list[Any]:
    identifier = fields.text("previous_response_id")
    if not identifier:
        return []
    stored = kept.get(identifier)
    if stored is None:
        raise NoSuchResponse(
            f"Previous response '{identifier}' is not known: responses are kept in memory for an hour, unless 'store' "
            "is false. Send the whole conversation in 'input'."
        )
    return stored.conversation


def _input(fields: Fields) -> list[Any]:
    value = fields.get("input")
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}] if value else []
    if isinstance(value, list):
        return value
    if value is None:
        raise fields.refuse("input", "'input' is missing.", "missing_required_parameter")
    raise fields.refuse("input", f"input must be a string or array: json: {kind_of(value)} found", "invalid_type")


def _format(fields: Fields) -> str:
    text = fields.fields("text") or Fields({}, "text")
    wanted = text.fields("format")
    return "" if wanted is None else format_text(wanted, wanted)


def _echo(fields: Fields, offer: Offer) -> dict[str, Any]:
    """The members of the answer that repeat the request, or say what held in its place."""
    text = fields.mapping("text") or {}
    reasoning = fields.mapping("reasoning") or {}
    told = {name: reasoning.get(name) for name in ("effort", "summary")}
    choice = fields.get("tool_choice")
    return {
        "previous_response_id": fields.text("previous_response_id"),
        "instructions": fields.text("instructions") or None,
        "tools": offer.echo,
        "tool_choice": "auto" if choice is None else choice,
        "truncation": fields.text("truncation") or "disabled",
        "parallel_tool_calls": fields.flag("parallel_tool_calls") is not False,
        "text": {"format": text.get("format") or {"type": "text"}},
        "top_p": _told(fields.number("top_p"), 1),
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "top_logprobs": fields.integer("top_logprobs") or 0,
        "temperature": _told(fields.number("temperature"), 1),
        "reasoning": told if any(told.values()) else None,
        "max_output_tokens": fields.integer("max_output_tokens"),
        "max_tool_calls": fields.integer("max_tool_calls"),
        "store": fields.flag("store") is True,
        "background": False,
        "service_tier": "default",
        "metadata": fields.mapping("metadata") or {},
        "safety_identifier": fields.text("safety_identifier"),
        "prompt_cache_key": fields.text("prompt_cache_key"),
    }


def _told(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
