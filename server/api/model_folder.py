"""`/puna/v1/models/folder` and `/puna/v1/models/move`: where the models are, and bringing them elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import anyio.from_thread
import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.progress import ProgressAnswer, Report
from server.api.reading import reads
from server.api.requests import MoveRequest
from server.api.responses import json_answer
from server.api.services import Services, services_of
from server.errors import InvalidRequest, MoveRefused
from server.settings import Settings, paths


async def folder(request: Request) -> ASGIApp:
    return json_answer(await anyio.to_thread.run_sync(_folder, services_of(request)))


def _folder(services: Services) -> dict[str, Any]:
    """`fault` is a sentence where the folder is missing, `move` one that has begun and not ended."""
    root, pending = services.store.root, services.mover.pending()
    fault = services.store.presence.fault(root)
    try:
        free_bytes = shutil.disk_usage(root).free
    except OSError:
        free_bytes = 0
    return {
        "path": str(root),
        "set_by": services.settings.sources.get("models_dir", "default"),
        "fault": fault,
        "free_bytes": free_bytes,
        "move": {"from": pending.source, "to": pending.target, "is_running": services.mover.is_moving}
        if pending
        else None,
    }


@reads(MoveRequest)
async def move(request: Request, asked: MoveRequest) -> ASGIApp:
    services = services_of(request)
    if not asked.path:
        raise InvalidRequest('"path" is required: the folder that the models shall be moved to')
    check_setting(services.settings, services.store.root)

    def release(source: Path) -> None:
        anyio.from_thread.run(services.scheduler.release_folder, str(source))

    def work(report: Report) -> None:
        services.mover.move(Path(asked.path), report, release)

    return ProgressAnswer(work, asked.stream)


def check_setting(settings: Settings, root: Path) -> None:
    """The settings file must be what decides, or the next start would look in the old place. Raises MoveRefused."""
    source = settings.sources.get("models_dir", "default")
    if source not in ("environment", "flag"):
        return
    where = "OLLAMA_MODELS in the server's environment" if source == "environment" else "the flag --models-dir"
    line = f"models_dir = {msgspec.json.encode(str(root)).decode()}"
    raise MoveRefused(
        f"the model folder is set by {where}, which wins over the settings, so the next start would look for the "
        f"models in the old place. Write {line} into {paths.settings_file()}, start the server without the other, and "
        "move again"
    )
