"""`/puna/v1/fit`: whether a model fits into this machine's memory, with the arithmetic; also before it is pulled."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.changes import registry_name
from server.api.reading import reads
from server.api.requests import FitRequest
from server.api.responses import json_answer
from server.api.services import services_of
from server.errors import InvalidRequest
from server.inference.fitting import Question
from server.scheduler.fit import as_answer


@reads(FitRequest)
async def fit(request: Request, asked: FitRequest) -> ASGIApp:
    question = Question(
        num_ctx=asked.num_ctx or None, parallel=asked.parallel or None, kv_cache_type=asked.kv_cache_type or None
    )
    services = services_of(request)
    if not asked.pull:
        return json_answer(as_answer(await services.fitting.of_model(asked.target, question)))
    name = registry_name(asked.target)
    found = await services.registry.preview(name, insecure=asked.insecure)
    if not found.prefix:
        raise InvalidRequest(f"{name.short} has no weights of its own, so there is nothing to fit")
    told = await services.fitting.of_preview(name.short, found, question)
    if told is None:
        raise InvalidRequest("the registry's file does not say what it takes; pull it to know")
    return json_answer({**as_answer(told), "download_bytes": found.total_bytes})
