"""`/openapi.json`: the routes and the bodies that they declare, as an OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from server.api.body import Schema
from server.api.reading import described_body
from server.api.responses import BARE_JSON, json_answer
from server.api.routes import Handler
from server.version import VERSION

_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_ERROR = {"type": "object", "properties": {"error": {"type": ["string", "object"]}}, "required": ["error"]}
_UNDECLARED: Schema = {"type": "object"}


@runtime_checkable
class Handled(Protocol):
    """An endpoint that tells its handlers by method."""

    @property
    def handlers(self) -> Mapping[str, Handler]: ...


async def openapi(request: Request) -> ASGIApp:
    return json_answer(document(request.app.routes), content_type=BARE_JSON)


def document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """OpenAPI 3.1. Routes that only tidy up after a client's path are left out."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Schema] = {}
    for route in routes:
        if isinstance(route, Route) and isinstance(route.endpoint, Handled):
            path = _PARAMETER.sub(r"{\1}", route.path)
            operations = {
                method.lower(): _operation(method, path, handler, schemas)
                for method, handler in route.endpoint.handlers.items()
            }
            paths[path] = {**_parameters(path), **operations}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Puna", "version": VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _parameters(path: str) -> dict[str, Any]:
    names = _PARAMETER.findall(path)
    found = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    return {"parameters": found} if found else {}


def _operation(method: str, path: str, handler: Handler, schemas: dict[str, Schema]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}{re.sub(r'[^A-Za-z0-9]+', '_', path)}",
        "responses": {
            "2XX": {"description": "The answer, or its stream."},
            "default": {"description": "What went wrong.", "content": {BARE_JSON: {"schema": _ERROR}}},
        },
    }
    body = described_body(handler)
    if body is not None:
        schemas[body.body_name] = body.body_schema
        reference = {"$ref": f"#/components/schemas/{body.body_name}"}
        operation["requestBody"] = {"required": True, "content": {body.body_media_type: {"schema": reference}}}
    elif method == "POST":
        operation["requestBody"] = {"content": {BARE_JSON: {"schema": _UNDECLARED}}}
    return operation
