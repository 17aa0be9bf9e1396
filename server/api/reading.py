"""Handlers that say which body they read. The same declaration decodes the request and describes the route."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Generic

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.body import Body, BodyType, decode
from server.api.routes import Handler
from server.api.streaming import read_body


class Reading(Generic[BodyType]):
    """A handler made of a function that takes the request and its decoded body."""

    def __init__(self, body_type: type[BodyType], handle: Callable[[Request, BodyType], Awaitable[ASGIApp]]) -> None:
        functools.update_wrapper(self, handle)
        self.body_type = body_type
        self._handle = handle

    async def __call__(self, request: Request) -> ASGIApp:
        return await self._handle(request, decode(await read_body(request), self.body_type))


def reads(
    body_type: type[BodyType],
) -> Callable[[Callable[[Request, BodyType], Awaitable[ASGIApp]]], Reading[BodyType]]:
    """`@reads(CopyRequest)` above `async def copy(request, asked)`."""
    return lambda handle: Reading(body_type, handle)


def body_type_of(handler: Handler) -> type[Body] | None:
    """The body that a handler declares, also through what wraps it."""
    found = inspect.unwrap(handler, stop=lambda inner: isinstance(inner, Reading))
    return found.body_type if isinstance(found, Reading) else None
