"""`/v1/completions`: the older text completions, several prompts and choices in one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.openai_completion_answer import Asked, CompletionStream, completion_object
from server.api.openai_request import (
    DEFAULT_OPTIONS,
    hides_reasoning,
    read_budget,
    read_choices,
    read_format,
    read_limit,
    read_think,
    read_top_logprobs,
    sampling,
)
from server.api.openai_schema import COMPLETION
from server.api.services import services_of
from server.api.streaming import while_connected
from server.api.wire_answer import answered
from server.api.wire_errors import OPENAI
from server.api.wire_fields import Fields, RefusedField, kind_of
from server.api.wire_options import as_set, read_model, read_running, refuse_two_forms
from server.api.wire_reading import takes
from server.api.wire_runs import as_count, choices, repeated
from server.inference import Tokenizer
from server.messages.chat import GenerationRequest

MAX_PROMPTS = 64
Prompt = str | tuple[int, ...]


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
        default_options=DEFAULT_OPTIONS,
        with_tokens=fields.flag("return_tokens") is True,
        with_progress=fields.flag("return_progress") is True and fields.flag("stream") is True,
        **running.generation(read_budget(fields)),
        truncate=running.truncate is not False,
        logprobs=has_logprobs,
        top_logprobs=read_top_logprobs(fields, "logprobs"),
    )
    refuse_two_forms(generation)
    if limit == 0:
        generation = as_count(generation)
    requests: list[GenerationRequest] = []
    for prompt in prompts:
        asked: dict[str, Any] = {"prompt": prompt} if isinstance(prompt, str) else {"token_prompt": prompt}
        requests += repeated(msgspec.structs.replace(generation, **asked), count)
    stream_options = fields.fields("stream_options") or Fields({})
    return Asked(
        tuple(requests),
        choices_per_prompt=count,
        stream=fields.flag("stream") is True,
        with_usage=stream_options.flag("include_usage") is True,
        echo=fields.flag("echo") is True,
        hides_reasoning=hides_reasoning(fields),
        with_timings=fields.flag("timings_per_token") is True,
    )


def _prompts(fields: Fields) -> Sequence[Prompt]:
    """Texts, or token ids of the model itself: one list of them, or several."""
    prompt: Any = fields.get("prompt")
    if prompt is None or isinstance(prompt, str):
        return [prompt or ""]
    if isinstance(prompt, list) and prompt:
        if _is_tokens(prompt):
            return [tuple(prompt)]
        if len(prompt) > MAX_PROMPTS:
            raise fields.refuse("prompt", f"'prompt' must not have more than {MAX_PROMPTS} texts.")
        if all(isinstance(item, str) for item in prompt):
            return prompt
        if all(map(_is_tokens, prompt)):
            return [tuple(item) for item in prompt]
    why = f"'prompt' must be a string, or a list of strings or of token ids, not {kind_of(prompt)}."
    raise RefusedField(why, param="prompt", code="invalid_type")


def _is_token(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**31


def _is_tokens(item: Any) -> bool:
    return isinstance(item, list) and bool(item) and all(map(_is_token, item))


async def _with_fronts(request: Request, asked: Asked) -> Asked:
    """The texts to repeat; those of token ids are known to the model alone."""
    services = services_of(request)
    tokenizer = Tokenizer(services.catalog, services.scheduler)

    async def fronts() -> tuple[str, ...]:
        return tuple(
            [one.prompt or (await _text(tokenizer, one) if one.token_prompt else "") for one in asked.requests]
        )

    return msgspec.structs.replace(asked, fronts=await while_connected(request.scope, request.receive, fronts))


async def _text(tokenizer: Tokenizer, one: GenerationRequest) -> str:
    return (await tokenizer.detokenize(one.model, one.token_prompt, options=one.options)).result


@takes("Completion", COMPLETION)
async def completions(request: Request, fields: Fields) -> ASGIApp:
    asked = read_completion(fields, request.headers)
    long_prompts = services_of(request).settings.long_prompts
    requests = tuple(as_set(one, fields, long_prompts) for one in asked.requests)
    asked = msgspec.structs.replace(asked, requests=requests)
    if asked.echo:
        asked = await _with_fronts(request, asked)
    pieces = choices(services_of(request).inference, asked.requests)
    return await answered(
        request,
        OPENAI,
        pieces,
        whole=lambda said: completion_object(asked, said),
        stream=CompletionStream(asked) if asked.stream else None,
    )
