"""Handlers of the OpenAI and Anthropic dialects that say what their requests may hold.

The readers of a dialect know rules that a JSON Schema has no words for, so the schema stands beside them, and a test
holds the two together: what a reader asks for is declared, and what is declared is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.responses import BARE_JSON
from server.api.routes import Handler
from server.api.wire_body import read_fields
from server.api.wire_fields import Fields

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
OBJECT: Schema = {"type": "object"}
ANYTHING: Schema = {}


def words(*allowed: str) -> Schema:
    return {"type": "string", "enum": list(allowed)}


def between(lowest: int, highest: int) -> Schema:
    return {"type": "integer", "minimum": lowest, "maximum": highest}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def members(required: tuple[str, ...] = (), /, *shared: dict[str, Schema], **own: Schema) -> Schema:
    """An object; members beyond these are ignored."""
    properties: dict[str, Schema] = {}
    for table in (*shared, own):
        properties |= table
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


class Taking:
    """A handler made of a function that takes the request and the members of its body."""

    def __init__(self, name: str, schema: Schema, handle: Callable[[Request, Fields], Awaitable[ASGIApp]]) -> None:
        functools.update_wrapper(self, handle)
        self.body_name = name
        self.body_schema = schema
        self.body_media_type = BARE_JSON
        self._handle = handle

    async def __call__(self, request: Request) -> ASGIApp:
        return await self._handle(request, await read_fields(request))


def takes(name: str, schema: Schema) -> Callable[[Callable[[Request, Fields], Awaitable[ASGIApp]]], Taking]:
    """`@takes("ChatCompletion", SCHEMA)` above `async def completions(request, fields)`."""
    return lambda handle: Taking(name, schema, handle)


HandlerType = TypeVar("HandlerType", bound=Handler)


def of_form(name: str, schema: Schema) -> Callable[[HandlerType], HandlerType]:
    """Says that a handler reads a form, which it does by itself."""

    def describe(handler: HandlerType) -> HandlerType:
        said = {"body_name": name, "body_schema": schema, "body_media_type": "multipart/form-data"}
        for attribute, value in said.items():
            setattr(handler, attribute, value)
        return handler

    return describe
