"""`/api/blobs/:digest` and `/puna/v1/blobs`: files on their way into the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp

from server.api import requests
from server.api.exchange import STATUS_KEY
from server.api.progress import ProgressAnswer, Report
from server.api.reading import reads
from server.api.responses import empty_answer
from server.api.services import services_of
from server.errors import Cancelled, Forbidden, NotFound
from server.messages.chat import Progress
from server.settings import is_loopback
from server.store import local_file


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


@reads(requests.TakeFileRequest)
async def take_file(request: Request, asked: requests.TakeFileRequest) -> ASGIApp:
    """A copy of a file of this machine, for someone on this machine who can read it."""
    if request.client is None or not is_loopback(request.client.host):
        raise Forbidden("only programs on this computer can name its files; upload it")
    blobs = services_of(request).store.blobs

    def work(report: Report) -> None:
        def tell(done: int, total: int) -> None:
            report(Progress(status="copying file", completed=done, total=total))

        digest = local_file.take_file(blobs, Path(asked.path), asked.beginning, tell)
        report(Progress(status="success", digest=digest))

    return ProgressAnswer(work, asked.stream)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        request.scope[STATUS_KEY] = Cancelled.status
        raise Cancelled() from None
