"""`/v1/chat/completions`: OpenAI's request to the internal one, and the routes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.openai_chat_answer import REASONING_NAMES, Asked, ChatStream, chat_object, rendered_object
from server.api.openai_messages import read_messages
from server.api.openai_request import (
    DEFAULT_OPTIONS,
    hides_reasoning,
    read_budget,
    read_choices,
    read_format,
    read_limit,
    read_think,
    read_tooling,
    read_top_logprobs,
    sampling,
    uses_functions,
)
from server.api.openai_schema import CHAT
from server.api.responses import BARE_JSON, json_answer
from server.api.services import services_of
from server.api.wire_answer import answered, check_images, counted
from server.api.wire_errors import OPENAI
from server.api.wire_fields import Fields
from server.api.wire_images import fetch_images
from server.api.wire_options import as_set, read_model, read_running, refuse_two_forms
from server.api.wire_reading import takes
from server.api.wire_runs import as_count, choices, repeated
from server.errors import InvalidRequest
from server.messages.chat import GenerationRequest, Message

_BOTH_ENDS = "Cannot set both add_generation_prompt and continue_final_message to true."


def read_chat(fields: Fields, headers: Headers) -> Asked:
    """The order of the checks is the reference's: messages before the model's name."""
    messages = read_messages(fields)
    _refuse_what_is_not_there(fields, messages)
    tooling = read_tooling(fields)
    limit = read_limit(fields, "n_predict", "max_completion_tokens", "max_tokens")
    running = read_running(fields, headers, {**sampling(fields), "num_predict": limit})
    generation = GenerationRequest(
        model=read_model(fields),
        is_chat=True,
        messages=messages,
        tools=tooling.tools,
        must_call=tooling.must_call,
        think=read_think(fields),
        format=read_format(fields),
        default_options=DEFAULT_OPTIONS,
        with_tokens=fields.flag("return_tokens") is True,
        with_progress=fields.flag("return_progress") is True and fields.flag("stream") is True,
        **running.generation(read_budget(fields)),
        truncate=running.truncate is not False,
        logprobs=fields.flag("logprobs") is True,
        top_logprobs=read_top_logprobs(fields, "top_logprobs"),
        debug_render_only=fields.flag("_debug_render_only") is True,
    )
    refuse_two_forms(generation)
    stream_options = fields.fields("stream_options") or Fields({})
    return Asked(
        as_count(generation) if limit == 0 else generation,
        choices=read_choices(fields),
        stream=fields.flag("stream") is True,
        with_usage=stream_options.flag("include_usage") is True,
        only_one_call=tooling.only_one,
        legacy_calls=uses_functions(fields),
        hides_reasoning=hides_reasoning(fields),
        with_timings=fields.flag("timings_per_token") is True,
    )


def _refuse_what_is_not_there(fields: Fields, messages: Sequence[Message]) -> None:
    if "audio" in fields.items("modalities"):
        why = "Puna answers with text alone; leave 'audio' out of 'modalities'."
        raise fields.refuse("modalities", why, "unsupported_parameter")
    continues = fields.flag("continue_final_message")
    if fields.flag("add_generation_prompt") and continues:
        raise InvalidRequest(_BOTH_ENDS)
    if continues and messages[-1].role == "assistant" and messages[-1].tool_calls:
        raise InvalidRequest("An answer that calls tools cannot be continued; leave 'continue_final_message' out.")


# ---- routes --------------------------------------------------------------------------------------------------------


@takes("ChatCompletion", CHAT)
async def completions(request: Request, fields: Fields) -> ASGIApp:
    services = services_of(request)
    await fetch_images(request, fields, "messages")
    asked = read_chat(fields, request.headers)
    generation, inference = as_set(asked.generation, fields, services.settings.long_prompts), services.inference
    asked = msgspec.structs.replace(asked, reasoning_names=REASONING_NAMES[services.settings.reasoning_field])
    await check_images(services, generation)
    pieces = choices(inference, repeated(generation, asked.choices), only_one_call=asked.only_one_call)
    is_rendering = generation.debug_render_only
    render = rendered_object if is_rendering else chat_object
    return await answered(
        request,
        OPENAI,
        pieces,
        whole=lambda said: render(asked, said),
        stream=ChatStream(asked) if asked.stream and not is_rendering else None,
    )


@takes("ChatCompletion", CHAT)
async def input_tokens(request: Request, fields: Fields) -> ASGIApp:
    """How long the prompt of a chat would be."""
    await fetch_images(request, fields, "messages")
    asked = read_chat(fields, request.headers)
    tokens = await counted(request, services_of(request), asked.generation)
    return json_answer({"object": "response.input_tokens", "input_tokens": tokens}, content_type=BARE_JSON)
