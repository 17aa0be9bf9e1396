"""`/puna/v1/fit`: whether a model fits into this machine's memory, with the arithmetic."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.reading import reads
from server.api.requests import FitRequest
from server.api.responses import json_answer
from server.api.services import services_of
from server.inference.fitting import Question
from server.scheduler.fit import as_answer


@reads(FitRequest)
async def fit(request: Request, asked: FitRequest) -> ASGIApp:
    question = Question(
        num_ctx=asked.num_ctx or None, parallel=asked.parallel or None, kv_cache_type=asked.kv_cache_type or None
    )
    return json_answer(as_answer(await services_of(request).fitting.of_model(asked.target, question)))
