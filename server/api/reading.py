"""Handlers that say which body they read. The same declaration decodes the request and describes the route."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, runtime_checkable

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.body import BodyType, Schema, decode, schema_of
from server.api.responses import BARE_JSON
from server.api.routes import Handler
from server.api.streaming import read_body


@runtime_checkable
class Described(Protocol):
    """A handler that says which body it reads."""

    @property
    def body_name(self) -> str: ...
    @property
    def body_schema(self) -> Schema: ...
    @property
    def body_media_type(self) -> str: ...


class Reading(Generic[BodyType]):
    """A handler made of a function that takes the request and its decoded body."""

    def __init__(self, body_type: type[BodyType], handle: Callable[[Request, BodyType], Awaitable[ASGIApp]]) -> None:
        functools.update_wrapper(self, handle)
        self.body_type = body_type
        self.body_name = body_type.__name__
        self.body_media_type = BARE_JSON
        self._handle = handle

    @property
    def body_schema(self) -> Schema:
        return schema_of(self.body_type)

    async def __call__(self, request: Request) -> ASGIApp:
        return await self._handle(request, decode(await read_body(request), self.body_type))


def reads(
    body_type: type[BodyType],
) -> Callable[[Callable[[Request, BodyType], Awaitable[ASGIApp]]], Reading[BodyType]]:
    """`@reads(CopyRequest)` above `async def copy(request, asked)`."""
    return lambda handle: Reading(body_type, handle)


def described_body(handler: Handler) -> Described | None:
    """The handler itself or what it wraps, if that declares a body."""
    found: Any = inspect.unwrap(handler, stop=lambda inner: isinstance(inner, Described))
    return found if isinstance(found, Described) else None
