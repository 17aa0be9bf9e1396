"""`/puna/v1/downloads`: what runs, what is left of downloads that broke off, and how fast they may be."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.body import Body, Kind, read_integer
from server.api.reading import reads
from server.api.responses import empty_answer, json_answer
from server.api.services import services_of
from server.errors import InvalidRequest, InvalidSetting

MaybeInteger = Annotated[int | None, Kind(read_integer)]


class DownloadLimits(Body, frozen=True, kw_only=True):
    """What is left out stays as it is."""

    parts: MaybeInteger = None
    bytes_per_second: MaybeInteger = None


async def downloads(request: Request) -> ASGIApp:
    registry = services_of(request).registry
    found = await anyio.to_thread.run_sync(registry.downloads.list)
    return json_answer({"downloads": msgspec.to_builtins(found), "limits": _limits(request)})


async def clear_all(request: Request) -> ASGIApp:
    registry = services_of(request).registry
    return json_answer({"freed_bytes": await anyio.to_thread.run_sync(registry.downloads.clear_all)})


async def clear(request: Request) -> ASGIApp:
    registry = services_of(request).registry
    freed = await anyio.to_thread.run_sync(registry.downloads.clear, request.path_params["digest"])
    return json_answer({"freed_bytes": freed})


async def cancel(request: Request) -> ASGIApp:
    services_of(request).registry.downloads.cancel(request.path_params["digest"])
    return empty_answer()


async def limits(request: Request) -> ASGIApp:
    return json_answer(_limits(request))


@reads(DownloadLimits)
async def change_limits(request: Request, asked: DownloadLimits) -> ASGIApp:
    """Until the server stops; what a start begins with is in the settings."""
    try:
        services_of(request).registry.limits.change(parts=asked.parts, bytes_per_second=asked.bytes_per_second)
    except InvalidSetting as error:
        raise InvalidRequest(str(error)) from error
    return json_answer(_limits(request))


def _limits(request: Request) -> dict[str, int]:
    limits = services_of(request).registry.limits
    return {"parts": limits.parts, "bytes_per_second": limits.bytes_per_second}
