"""Routes that look at what is installed and what is loaded."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.reading import reads
from server.api.requests import ShowRequest
from server.api.responses import json_answer, local_timestamp
from server.api.services import services_of
from server.messages.chat import FOREVER_SECONDS

COPILOT_AGENT = "GitHubCopilotChat/"


async def tags(request: Request) -> ASGIApp:
    entries = await services_of(request).catalog.tags()
    dated = [{**entry, "modified_at": local_timestamp(entry["modified_at"])} for entry in entries]
    return json_answer({"models": dated})


async def ps(request: Request) -> ASGIApp:
    """The model that stays longest comes first."""
    services = services_of(request)
    entries = await services.catalog.running(services.scheduler.running())
    now = time.time()
    for entry in entries:
        # A date 292 years ahead is how clients read "for ever".
        entry["expires_at"] = now + FOREVER_SECONDS if entry["expires_at"] is None else entry["expires_at"]
    entries.sort(key=lambda entry: -int(entry["expires_at"]))
    return json_answer({"models": [_with_expiry(entry) for entry in entries]})


def _with_expiry(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "expires_at": local_timestamp(datetime.fromtimestamp(entry["expires_at"], UTC))}


@reads(ShowRequest)
async def show(request: Request, asked: ShowRequest) -> ASGIApp:
    shown = await services_of(request).catalog.show(
        asked.target, verbose=asked.verbose, system=asked.system, options=asked.options
    )
    shown["modified_at"] = local_timestamp(datetime.fromisoformat(shown["modified_at"]))
    if request.headers.get("user-agent", "").startswith(COPILOT_AGENT):
        # Copilot lists models by this key, and expects the name that it asked for.
        shown["model_info"] = {**shown["model_info"], "general.basename": asked.target}
    return json_answer(shown)
