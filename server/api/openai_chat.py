"""`/v1/chat/completions`: OpenAI's request to the internal one, and the routes."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.openai_chat_answer import Asked, ChatStream, chat_object, rendered_object
from server.api.openai_messages import read_messages
from server.api.openai_request import (
    DEFAULT_OPTIONS,
    hides_reasoning,
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
from server.api.wire_answer import answered, counted
from server.api.wire_errors import OPENAI
from server.api.wire_fields import Fields
from server.api.wire_options import read_model, read_running
from server.api.wire_reading import takes
from server.api.wire_runs import as_count, choices, repeated
from server.errors import InvalidRequest
from server.messages.chat import GenerationRequest

_BOTH_ENDS = "Cannot set both add_generation_prompt and continue_final_message to true."


def read_chat(fields: Fields, headers: Headers) -> Asked:
    """The order of the checks is the reference's: messages before the model's name."""
    messages = read_messages(fields)
    _refuse_what_is_not_there(fields)
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
        options=running.options,
        default_options=DEFAULT_OPTIONS,
        keep_alive_seconds=running.keep_alive_seconds,
        truncate=running.truncate is not False,
        shift=running.shift,
        logprobs=fields.flag("logprobs") is True,
        top_logprobs=read_top_logprobs(fields, "top_logprobs"),
        debug_render_only=fields.flag("_debug_render_only") is True,
    )
    stream_options = fields.fields("stream_options") or Fields({})
    return Asked(
        as_count(generation) if limit == 0 else generation,
        choices=read_choices(fields),
        stream=fields.flag("stream") is True,
        with_usage=stream_options.flag("include_usage") is True,
        only_one_call=tooling.only_one,
        legacy_calls=uses_functions(fields),
        hides_reasoning=hides_reasoning(fields),
    )


def _refuse_what_is_not_there(fields: Fields) -> None:
    if "audio" in fields.items("modalities"):
        why = "Puna answers with text alone; leave 'audio' out of 'modalities'."
        raise fields.refuse("modalities", why, "unsupported_parameter")
    if fields.flag("add_generation_prompt") and fields.flag("continue_final_message"):
        raise InvalidRequest(_BOTH_ENDS)


# ---- routes --------------------------------------------------------------------------------------------------------


@takes("ChatCompletion", CHAT)
async def completions(request: Request, fields: Fields) -> ASGIApp:
    asked = read_chat(fields, request.headers)
    generation, inference = asked.generation, services_of(request).inference
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
    asked = read_chat(fields, request.headers)
    tokens = await counted(request, services_of(request).inference, asked.generation)
    return json_answer({"object": "response.input_tokens", "input_tokens": tokens}, content_type=BARE_JSON)
