"""Our own routes: what the tray and the command line show while the server runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.responses import encode, json_answer
from server.api.services import Services, services_of
from server.api.streaming import Streamed, read_body
from server.hardware.memory import read_system_memory
from server.messages.models import RunningModel
from server.version import VERSION

SECONDS_BETWEEN_EVENTS = 0.5
SECONDS_BETWEEN_SIGNS = 15.0  # a silent connection looks dead to whatever stands in between
_SIGN = b": still here\n\n"


def _state(models: tuple[RunningModel, ...], is_closing: bool) -> str:
    if is_closing:
        return "stopping"
    if any(model.active for model in models):
        return "working"
    return "loading" if any(model.state == "loading" for model in models) else "ready"


def _status(services: Services) -> dict[str, Any]:
    """Without memory, which changes all the time by itself."""
    models = services.scheduler.running()
    return {
        "state": _state(models, services.closing.is_set()),
        "address": str(services.address),
        "version": VERSION,
        "models": msgspec.to_builtins(models),
    }


def _with_memory(status: dict[str, Any]) -> dict[str, Any]:
    memory = read_system_memory()
    sizes = {
        "total_bytes": memory.total_bytes,
        "free_bytes": memory.free_bytes,
        "models_bytes": sum(model["size_bytes"] for model in status["models"]),
        "models_gpu_bytes": sum(model["gpu_bytes"] for model in status["models"]),
    }
    return {**status, "memory": sizes}


async def status(request: Request) -> ASGIApp:
    return json_answer(_with_memory(_status(services_of(request))))


async def events(request: Request) -> ASGIApp:
    await read_body(request)
    return Streamed(_changes(services_of(request)), bytes, content_type="text/event-stream")


async def _changes(services: Services) -> AsyncGenerator[bytes, None]:
    """The status now and after each change, until the server stops; the last event says so."""
    told: dict[str, Any] | None = None
    while True:
        version = services.scheduler.version
        current = _status(services)
        if current != told:
            told = current
            yield b"event: status\ndata: " + encode(_with_memory(current)) + b"\n\n"
        if services.closing.is_set():
            return
        with anyio.move_on_after(SECONDS_BETWEEN_EVENTS):
            await services.closing.wait()
        while not await _has_news(services, version):
            yield _SIGN


async def _has_news(services: Services, version: int) -> bool:
    """True as soon as the scheduler is not at `version` any more or the server stops, False after a long silence."""
    with anyio.move_on_after(SECONDS_BETWEEN_SIGNS) as silence:
        async with anyio.create_task_group() as tasks:

            async def hear_the_end() -> None:
                await services.closing.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(hear_the_end)
            await services.scheduler.wait_changed(version)
            tasks.cancel_scope.cancel()
    return not silence.cancelled_caught
