"""`/metrics` and `/slots` of llama.cpp's server, both switched on by a setting: how much the models have done, and what
they do. Neither tells a prompt or an answer.

`/metrics` is text for Prometheus, version 0.0.4. A model's figures go on after it was unloaded. What an answer cost is
known at its end; one that was cut off by its client is not counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.llama_model import settings_object, with_model
from server.api.responses import BARE_JSON, Answer, json_answer
from server.api.services import Services, services_of
from server.api.streaming import read_body
from server.api.wire_fields import Fields
from server.api.wire_options import read_model
from server.errors import NotFound, ServerBusy
from server.inference import FIRST_TOKEN_SECONDS, ModelFigures, Writing
from server.messages.models import RunningModel

CONTENT_TYPE = "text/plain; version=0.0.4"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

_COUNTERS: tuple[tuple[str, str, Callable[[ModelFigures], float]], ...] = (
    ("llamacpp:prompt_tokens_total", "Prompt tokens that were read.", lambda of: of.read_tokens),
    ("llamacpp:prompt_tokens_cached_total", "Prompt tokens taken from the cache.", lambda of: of.cached_tokens),
    ("llamacpp:prompt_seconds_total", "Time spent on reading prompts.", lambda of: of.read_ns / 1e9),
    ("llamacpp:tokens_predicted_total", "Tokens that were written.", lambda of: of.written_tokens),
    ("llamacpp:tokens_predicted_seconds_total", "Time spent on writing.", lambda of: of.written_ns / 1e9),
    ("llamacpp:n_tokens_max", "The longest prompt with its answer, in tokens.", lambda of: of.most_tokens),
    ("puna:answers_total", "Answers that came to their end.", lambda of: of.answers),
)
_GAUGES: tuple[tuple[str, str, Callable[[RunningModel], float]], ...] = (
    ("llamacpp:prompt_tokens_seconds", "Prompt tokens per second now.", lambda of: of.prompt_tokens_per_second),
    ("llamacpp:predicted_tokens_seconds", "Written tokens per second now.", lambda of: of.tokens_per_second),
    ("llamacpp:requests_processing", "Requests that are answered now.", lambda of: of.active),
    ("llamacpp:requests_deferred", "Requests that wait.", lambda of: of.waiting),
    ("puna:model_bytes", "Memory of a loaded model.", lambda of: of.size_bytes),
    ("puna:model_gpu_bytes", "The part of it on GPUs.", lambda of: of.gpu_bytes),
)


def _check_allowed(services: Services) -> None:
    if not services.settings.metrics:
        raise NotFound("Figures are switched off; start the server with PUNA_METRICS=1 to see them.")


# ---- /metrics ------------------------------------------------------------------------------------------------------


async def metrics(request: Request) -> ASGIApp:
    await read_body(request)
    services = services_of(request)
    _check_allowed(services)
    lines = metrics_lines(services.inference.figures.finished, services.scheduler.running())
    return Answer(("\n".join(lines) + "\n").encode(), content_type=CONTENT_TYPE)


def metrics_lines(finished: dict[str, ModelFigures], running: Iterable[RunningModel]) -> Iterator[str]:
    models = list(running)
    for name, words, value in _COUNTERS:
        yield from _head(name, words, "counter")
        yield from (_sample(name, value(figures), model=model) for model, figures in finished.items())
    for name, words, measure in _GAUGES:
        yield from _head(name, words, "gauge")
        yield from (_sample(name, measure(model), model=model.name) for model in models)
    # Known while a model is loaded; after that it begins at 0 again, as counters of Prometheus may.
    yield from _head("llamacpp:n_decode_total", "Batches that were evaluated since the model was loaded.", "counter")
    yield from (_sample("llamacpp:n_decode_total", model.steps, model=model.name) for model in models)
    yield from _head("puna:models_loaded", "Models in memory.", "gauge")
    yield _sample("puna:models_loaded", len(models))
    yield from _first_tokens(finished)


def _first_tokens(finished: dict[str, ModelFigures]) -> Iterator[str]:
    name = "puna:first_token_seconds"
    yield from _head(name, "From a request to the end of its prompt, with loading.", "histogram")
    bounds = [*map(str, FIRST_TOKEN_SECONDS), "+Inf"]
    for model, figures in finished.items():
        sums = itertools.accumulate(figures.first_tokens)
        yield from (
            _sample(f"{name}_bucket", count, model=model, le=bound) for bound, count in zip(bounds, sums, strict=True)
        )
        yield _sample(f"{name}_sum", figures.first_ns / 1e9, model=model)
        yield _sample(f"{name}_count", figures.answers, model=model)


def _head(name: str, words: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {words}", f"# TYPE {name} {kind}"


def _sample(name: str, value: float, **labels: str) -> str:
    told = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
    return f"{name}{{{told}}} {value}" if told else f"{name} {value}"


# ---- /slots --------------------------------------------------------------------------------------------------------


async def slots(request: Request) -> ASGIApp:
    """compat 14.2; `?model=` where it is not the one that stays longest. A model that is not loaded has none."""
    await read_body(request)
    services = services_of(request)
    _check_allowed(services)
    model = read_model(with_model(request, Fields({"model": request.query_params.get("model")})))
    entry = await services.catalog.find(model, "chat")
    path = entry.spec.path
    loaded = next((one for one in services.scheduler.running() if one.path == path and one.state == "ready"), None)
    told = slot_objects(loaded, services.inference.figures.written_by(path)) if loaded is not None else []
    if request.query_params.get("fail_on_no_slot") and all(slot["is_processing"] for slot in told):
        raise ServerBusy("no slot available")
    return json_answer(told, content_type=BARE_JSON)


def slot_objects(loaded: RunningModel, written: list[Writing]) -> list[dict[str, Any]]:
    """One for each answer that the model can write at a time; what waits behind them is not told."""
    answers: list[Writing | None] = [*written[: loaded.slots]]
    answers += [None] * (loaded.slots - len(answers))
    return [
        {"id": at, "n_ctx": loaded.context_tokens, "is_processing": answer is not None, **_progress(answer)}
        for at, answer in enumerate(answers)
    ]


def _progress(answer: Writing | None) -> dict[str, Any]:
    if answer is None:
        return {}
    standing = answer.standing()
    limit = answer.sampling.num_predict
    return {
        "id_task": answer.number,
        "n_prompt_tokens": standing.prompt_tokens,
        "n_prompt_tokens_processed": standing.prompt_tokens - standing.cached_tokens,
        "n_prompt_tokens_cache": standing.cached_tokens,
        "params": settings_object(answer.sampling),
        "next_token": [
            {
                "has_next_token": True,
                "has_new_line": standing.has_new_line,
                "n_remain": max(limit - standing.generated, 0) if limit > 0 else -1,
                "n_decoded": standing.generated,
            }
        ],
    }
