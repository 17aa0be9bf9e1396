"""`/v1/completions`: the older text completions, several prompts and choices in one request."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.openai_completion_answer import Asked, CompletionStream, completion_object
from server.api.openai_request import (
    DEFAULT_OPTIONS,
    hides_reasoning,
    read_choices,
    read_format,
    read_limit,
    read_think,
    read_top_logprobs,
    sampling,
)
from server.api.openai_schema import COMPLETION
from server.api.services import services_of
from server.api.wire_answer import answered
from server.api.wire_errors import OPENAI
from server.api.wire_fields import Fields, RefusedField, kind_of
from server.api.wire_options import read_model, read_running
from server.api.wire_reading import takes
from server.api.wire_runs import as_count, choices, repeated
from server.errors import NotImplementedYet
from server.messages.chat import GenerationRequest

_TOKEN_PROMPTS = "Puna cannot take a prompt as token ids yet; send it as text."
MAX_PROMPTS = 64


def read_completion(fields: Fields, headers: Headers) -> Asked:
    model = read_model(fields)
    prompts = _prompts(fields)
    count = read_choices(fields)
    best_of = fields.integer("best_of")
    if best_of is not None and best_of != count:
        raise fields.refuse("best_of", "'best_of' must be equal to 'n'.", "unsupported_value")
    limit = read_limit(fields, "n_predict", "max_completion_tokens", "max_tokens")
    running = read_running(fields, headers, {**sampling(fields), "num_predict": limit})
    think = read_think(fields)
    has_logprobs = "logprobs" in fields
    generation = GenerationRequest(
        model=model,
        is_chat=False,
        suffix=fields.text("suffix") or "",
        raw=fields.flag("raw") is True,
        think=False if think is None else think,  # nobody who asks for plain text waits for a thought first
        format=read_format(fields),
        options=running.options,
        default_options=DEFAULT_OPTIONS,
        keep_alive_seconds=running.keep_alive_seconds,
        truncate=running.truncate is not False,
        shift=running.shift,
        logprobs=has_logprobs,
        top_logprobs=read_top_logprobs(fields, "logprobs"),
    )
    if limit == 0:
        generation = as_count(generation)
    requests: list[GenerationRequest] = []
    for prompt in prompts:
        requests += repeated(msgspec.structs.replace(generation, prompt=prompt), count)
    stream_options = fields.fields("stream_options") or Fields({})
    return Asked(
        tuple(requests),
        choices_per_prompt=count,
        stream=fields.flag("stream") is True,
        with_usage=stream_options.flag("include_usage") is True,
        echo=fields.flag("echo") is True,
        hides_reasoning=hides_reasoning(fields),
    )


def _prompts(fields: Fields) -> list[str]:
    prompt: Any = fields.get("prompt")
    if prompt is None or isinstance(prompt, str):
        return [prompt or ""]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(item, str) for item in prompt):
            if len(prompt) > MAX_PROMPTS:
                raise fields.refuse("prompt", f"'prompt' must not have more than {MAX_PROMPTS} texts.")
            return prompt
        if all(_is_token(item) or _is_tokens(item) for item in prompt):
            raise NotImplementedYet(_TOKEN_PROMPTS, status=400)
    why = f"'prompt' must be a string or a list of strings, not {kind_of(prompt)}."
    raise RefusedField(why, param="prompt", code="invalid_type")


def _is_token(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)


def _is_tokens(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(map(_is_token, item))


@takes("Completion", COMPLETION)
async def completions(request: Request, fields: Fields) -> ASGIApp:
    asked = read_completion(fields, request.headers)
    pieces = choices(services_of(request).inference, asked.requests)
    return await answered(
        request,
        OPENAI,
        pieces,
        whole=lambda said: completion_object(asked, said),
        stream=CompletionStream(asked) if asked.stream else None,
    )
