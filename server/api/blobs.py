"""`/api/blobs/:digest`: files on their way into the store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp

from server.api.exchange import STATUS_KEY
from server.api.responses import empty_answer
from server.api.services import services_of
from server.errors import Cancelled, NotFound


async def has_blob(request: Request) -> ASGIApp:
    digest = request.path_params["digest"]
    blobs = services_of(request).store.blobs
    if not await anyio.to_thread.run_sync(blobs.has, digest):
        raise NotFound(f'blob "{digest}" not found')
    return empty_answer()


async def receive_blob(request: Request) -> ASGIApp:
    """201 for a new one; 200, with the body unread, for one that is there."""
    blobs = services_of(request).store.blobs
    is_new = await blobs.receive(request.path_params["digest"], _pieces(request))
    return empty_answer(201 if is_new else 200)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        request.scope[STATUS_KEY] = Cancelled.status
        raise Cancelled() from None
