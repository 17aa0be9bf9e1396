"""The OpenAPI document: made by the routes, and true."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.api.app import ROUTES
from server.api.body import Body, decode, schema_of
from server.api.openapi import document
from server.api.requests import (
    ChatRequest,
    CreateRequest,
    EmbedRequest,
    FitRequest,
    GenerateRequest,
    ShowRequest,
    TokenizeRequest,
)
from tests.api.conftest import Server
from tests.schemas import valid_values

DOCUMENT = document(ROUTES)
BODIES = (ChatRequest, CreateRequest, EmbedRequest, FitRequest, GenerateRequest, ShowRequest, TokenizeRequest)


@pytest.mark.anyio
async def test_the_server_tells_its_routes(server: Server) -> None:
    answer = await server.client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == DOCUMENT


def test_every_native_route_is_there_with_its_methods_and_its_body() -> None:
    paths = DOCUMENT["paths"]
    assert set(paths["/api/tags"]) == {"get", "head"}
    assert set(paths["/api/delete"]) == {"delete"}
    assert paths["/api/blobs/{digest}"]["parameters"][0]["name"] == "digest"
    bodies = {
        path: _body_name(path, method) for path in paths for method in ("post", "delete") if method in paths[path]
    }
    assert bodies["/api/chat"] == "ChatRequest"
    native = {path for path in paths if path.startswith("/api/")}
    without = {path for path, name in bodies.items() if path in native and not name}
    # The cloud's routes read nothing, a blob is no JSON.
    assert {path for path in without if "experimental" not in path} == {
        "/api/blobs/{digest}", "/api/me", "/api/signout", "/api/user/keys/{key}",
    }  # fmt: skip


def test_identifiers_are_unique_and_references_lead_somewhere() -> None:
    operations = [
        operation for path in DOCUMENT["paths"].values() for method, operation in path.items() if method != "parameters"
    ]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    references = {part.split('"')[0] for part in json.dumps(DOCUMENT).split("#/components/schemas/")[1:]}
    assert references == set(DOCUMENT["components"]["schemas"])


@pytest.mark.parametrize("body_type", BODIES, ids=lambda body: body.__name__)
def test_what_fits_the_schema_is_read(body_type: type[Body]) -> None:
    """The schema and the reader of a field are declared side by side; this holds them together."""
    # Durations and images have a form that a schema does not know.
    schema = {**schema_of(body_type), "properties": dict(schema_of(body_type)["properties"])}
    for name in ("keep_alive", "images", "messages"):
        schema["properties"].pop(name, None)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        body: dict[str, Any] = data.draw(valid_values(schema))
        decode(json.dumps(body).encode(), body_type)

    check()


def _body_name(path: str, method: str) -> str:
    content = DOCUMENT["paths"][path][method].get("requestBody", {}).get("content", {})
    reference: str = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    return reference.rpartition("/")[2]
