"""`/completion` of llama.cpp's server: the bare continuation of a prompt, in no template."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.llama_completion_answer import Asked, CompletionStream, completion_objects
from server.api.llama_model import settings_object, tokenizer_of, with_model
from server.api.openai_request import read_choices, read_format, read_limit, read_top_logprobs, sampling
from server.api.openai_schema import FORMATS, SAMPLING
from server.api.services import services_of
from server.api.streaming import while_connected
from server.api.wire_answer import answered
from server.api.wire_errors import OPENAI
from server.api.wire_fields import Fields, kind_of
from server.api.wire_options import RUNNING, read_model, read_running, refuse_two_forms
from server.api.wire_reading import FLAG, TEXT, WHOLE, Schema, between, either, list_of, members, takes
from server.api.wire_runs import as_count, choices, repeated
from server.messages.chat import GenerationRequest
from server.messages.options import read_options

MAX_PROMPTS = 64
MAX_TOKEN = 2**31
Part = str | int
# What any request for a bare continuation may hold.
WRITING: dict[str, Schema] = {
    **SAMPLING,
    **FORMATS,
    "n_predict": WHOLE,
    "max_tokens": WHOLE,
    "n_keep": WHOLE,
    "n": between(1, 8),
    "n_cmpl": between(1, 8),
    "n_probs": between(0, 20),
    "post_sampling_probs": FLAG,
    "stream": FLAG,
    "timings_per_token": FLAG,
    "return_tokens": FLAG,
    "return_progress": FLAG,
}
COMPLETION = members(
    ("prompt",),
    RUNNING,
    WRITING,
    prompt=either(TEXT, list_of(either(TEXT, WHOLE)), list_of(list_of(either(TEXT, WHOLE)))),
)


def read_writing(fields: Fields, headers: Headers) -> GenerationRequest:
    """The request without its prompt. What does not fit into the context is refused unless `truncate` is said."""
    limit = read_limit(fields, "n_predict", "max_tokens")
    own = {**sampling(fields), "num_predict": limit, "num_keep": fields.integer("n_keep")}
    running = read_running(fields, headers, own)
    streams = fields.flag("stream") is True
    probabilities = read_top_logprobs(fields, "n_probs")
    generation = GenerationRequest(
        model=read_model(fields),
        is_chat=False,
        raw=True,
        think=False,
        as_written=True,
        format=read_format(fields),
        with_tokens=streams or fields.flag("return_tokens") is True,
        with_progress=streams and fields.flag("return_progress") is True,
        **running.generation(),
        truncate=running.truncate is True,
        logprobs=probabilities > 0,
        top_logprobs=probabilities,
        after_sampling=fields.flag("post_sampling_probs") is True,
    )
    refuse_two_forms(generation)
    return as_count(generation) if limit == 0 else generation


# ---- prompts -------------------------------------------------------------------------------------------------------


def _prompts(fields: Fields) -> list[str | list[Part]]:
    """One text or one list of texts and token ids that stand behind one another, or several of these."""
    prompt = fields.get("prompt")
    if prompt is None:
        raise fields.refuse("prompt", '"prompt" is required', "missing_required_parameter")
    several = prompt if isinstance(prompt, list) and not any(map(_is_number, prompt)) else [prompt]
    if not 0 < len(several) <= MAX_PROMPTS:
        raise fields.refuse("prompt", f"'prompt' must have between 1 and {MAX_PROMPTS} texts.")
    for one in several:
        if not isinstance(one, str) and not (isinstance(one, list) and one and all(map(_is_part, one))):
            why = f"'prompt' must be a text, or a list of texts and token ids, not {kind_of(one)}."
            raise fields.refuse("prompt", why, "invalid_type")
    return several


def _is_number(part: Any) -> bool:
    return isinstance(part, int) and not isinstance(part, bool)


def _is_part(part: Any) -> bool:
    return isinstance(part, str) or (_is_number(part) and 0 <= part < MAX_TOKEN)


async def _with_prompts(
    request: Request, generation: GenerationRequest, prompts: Sequence[str | list[Part]]
) -> list[tuple[GenerationRequest, str]]:
    """A request for each prompt, and the prompt as a text, which only the model knows of token ids."""
    tokenizer = tokenizer_of(request)
    model, options = generation.model, generation.options
    found = []
    for prompt in prompts:
        if isinstance(prompt, str):
            found.append((msgspec.structs.replace(generation, prompt=prompt), prompt))
            continue
        tokens: list[int] = []
        for at, part in enumerate(prompt):
            if isinstance(part, int):
                tokens.append(part)
            else:
                tokens += (await tokenizer.tokenize(model, part, add_special=at == 0, options=options)).result.tokens
        text = (await tokenizer.detokenize(model, tuple(tokens), options=options)).result
        found.append((msgspec.structs.replace(generation, token_prompt=tuple(tokens)), text))
    return found


# ---- answers -------------------------------------------------------------------------------------------------------


@takes("LlamaCompletion", COMPLETION)
async def completion(request: Request, fields: Fields) -> ASGIApp:
    """compat 14.2"""
    fields = with_model(request, fields)
    generation, prompts = read_writing(fields, request.headers), _prompts(fields)
    return await continued(request, fields, generation, lambda: _with_prompts(request, generation, prompts))


async def continued(
    request: Request,
    fields: Fields,
    generation: GenerationRequest,
    with_prompts: Callable[[], Awaitable[list[tuple[GenerationRequest, str]]]],
) -> ASGIApp:
    """The answer to requests that `with_prompts` makes of `generation`, each with the text of its prompt."""
    services = services_of(request)
    entry = await services.catalog.find(generation.model, "chat")
    settings = settings_object(read_options(entry.model.params, generation.options).sampling)
    count = read_choices(fields)
    prompts = await while_connected(request.scope, request.receive, with_prompts)
    asked = Asked(
        requests=tuple(one for prompted, _ in prompts for one in repeated(prompted, count)),
        prompts=tuple(text for _, text in prompts for _ in range(count)),
        settings={**settings, "grammar": generation.grammar, "n_probs": generation.top_logprobs},
        with_timings=fields.flag("timings_per_token") is True,
    )
    return await answered(
        request,
        OPENAI,
        choices(services.inference, asked.requests),
        whole=lambda pieces: completion_objects(asked, pieces),
        stream=CompletionStream(asked) if fields.flag("stream") else None,
    )
