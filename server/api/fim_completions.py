"""`/v1/fim/completions`, as editors know it from Mistral's service: code around a gap in, a chat answer out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.llama_infill import filling_of
from server.api.openai_chat_answer import Asked, ChatStream, chat_object
from server.api.openai_request import DEFAULT_OPTIONS, read_limit, sampling
from server.api.openai_schema import LIMITS, SAMPLING, STREAMING
from server.api.services import services_of
from server.api.streaming import while_connected
from server.api.wire_answer import answered
from server.api.wire_errors import OPENAI
from server.api.wire_fields import Fields
from server.api.wire_options import RUNNING, read_model, read_running
from server.api.wire_reading import TEXT, WHOLE, members, takes
from server.api.wire_runs import as_count, choices
from server.inference import Gap
from server.messages.chat import GenerationRequest

FIM = members(("model", "prompt"), RUNNING, SAMPLING, LIMITS, STREAMING, prompt=TEXT, suffix=TEXT, random_seed=WHOLE)


@takes("FimCompletion", FIM)
async def completions(request: Request, fields: Fields) -> ASGIApp:
    """compat 14.2"""
    gap = Gap(before=_prompt(fields), behind=fields.text("suffix") or "")
    limit = read_limit(fields, "n_predict", "max_completion_tokens", "max_tokens")
    seed = fields.integer("random_seed")
    own = {**sampling(fields), "num_predict": limit, **({} if seed is None else {"seed": seed})}
    running = read_running(fields, request.headers, own)
    generation = GenerationRequest(
        model=read_model(fields),
        is_chat=False,
        raw=True,
        think=False,
        as_written=True,
        default_options=DEFAULT_OPTIONS,
        **running.generation(),
        truncate=running.truncate is True,
    )
    if limit == 0:
        generation = as_count(generation)
    filling = filling_of(request)
    generation, _ = await while_connected(request.scope, request.receive, lambda: filling.prompt(generation, gap))
    asked = _asked(fields, generation)
    return await answered(
        request,
        OPENAI,
        choices(services_of(request).inference, [generation]),
        whole=lambda pieces: chat_object(asked, pieces),
        stream=ChatStream(asked) if asked.stream else None,
    )


def _prompt(fields: Fields) -> str:
    prompt = fields.text("prompt")
    if prompt is None:
        raise fields.refuse("prompt", "'prompt' is missing: the code before the gap.", "missing_required_parameter")
    return prompt


def _asked(fields: Fields, generation: GenerationRequest) -> Asked:
    stream_options = fields.fields("stream_options") or Fields({})
    return Asked(
        generation,
        stream=fields.flag("stream") is True,
        with_usage=stream_options.flag("include_usage") is True,
        with_timings=fields.flag("timings_per_token") is True,
    )
