"""`/puna/v1/keys`: which API keys there are, making one, and taking one back."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.body import Body, Text
from server.api.reading import reads
from server.api.responses import json_answer, utc_timestamp
from server.api.services import services_of
from server.secrets import Key


class AddKeyRequest(Body, frozen=True, kw_only=True):
    """`scope` is use, manage or admin."""

    name: Text = ""
    scope: Text = "use"


async def keys(request: Request) -> ASGIApp:
    services = services_of(request)
    found = await anyio.to_thread.run_sync(services.keys.list)
    return json_answer({"required": services.settings.require_key, "keys": [_told(key) for key in found]})


@reads(AddKeyRequest)
async def add(request: Request, asked: AddKeyRequest) -> ASGIApp:
    """The only answer that has the key itself; no copy of it may stay on the way."""
    services = services_of(request)
    key, text = await anyio.to_thread.run_sync(services.keys.add, asked.name, asked.scope)
    answer = json_answer({**_told(key), "key": text, "required": services.settings.require_key})
    answer.headers["cache-control"] = "no-store"
    return answer


async def revoke(request: Request) -> ASGIApp:
    services = services_of(request)
    await anyio.to_thread.run_sync(services.keys.revoke, request.path_params["name"])
    return json_answer({"required": services.settings.require_key})


def _told(key: Key) -> dict[str, Any]:
    """`last_used_at` is the beginning of an hour, or null."""
    return {
        "name": key.name,
        "scope": key.scope,
        "created_at": _time(key.created),
        "last_used_at": _time(key.last_used) if key.last_used else None,
    }


def _time(unix: int) -> str:
    return utc_timestamp(unix * 1_000_000_000)
