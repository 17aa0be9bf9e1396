"""Settings that shape answers under /v1 (compat-api 67, 140), and the schemas of its routes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from server.api.anthropic_request import read_request
from server.api.anthropic_schema import COUNT, MESSAGE
from server.api.openai_chat import read_chat
from server.api.openai_completions import read_completion
from server.api.openai_embeddings import read_embeddings
from server.api.openai_schema import CHAT, COMPLETION, EMBEDDINGS
from server.api.responses_api_request import read_response
from server.api.responses_api_schema import RESPONSE
from server.api.responses_api_store import StoredResponses
from server.api.wire_fields import Fields
from tests.api.conftest import Server, Start
from tests.api.openai_scripts import REASON, frames, script

pytestmark = pytest.mark.anyio

ASKS = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": ASKS},
    "/v1/completions": {"model": "m", "prompt": "hi"},
    "/v1/responses": {"model": "m", "input": "hi"},
    "/v1/messages": {"model": "m", "messages": ASKS, "max_tokens": 9},
}


def set_to(server: Server, **settings: Any) -> Server:
    changed = msgspec.structs.replace(server.services.settings, **settings)
    server.app.state.services = type(server.services)(**{**vars(server.services), "settings": changed})
    return server


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("long_prompts", "drops"), [("auto", None), ("drop", True), ("refuse", False)])
async def test_long_prompts(start: Start, path: str, long_prompts: str, drops: bool | None) -> None:
    """compat-api 66-69"""
    server = set_to(start(), long_prompts=long_prompts)
    await server.post(path, BODIES[path])
    await server.post(path, {**BODIES[path], "truncate": True})
    await server.post(path, {**BODIES[path], "truncate": False})
    usual = path.endswith("completions")
    wanted = [usual if drops is None else drops, True, False]
    assert [request.truncate for request in server.inference.asked] == wanted


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
async def test_one_name_for_thoughts(start: Start, name: str) -> None:
    """compat-api 140"""
    server = set_to(start(), reasoning_field=name)
    server.inference.script = script(*REASON)
    body = BODIES["/v1/chat/completions"]
    message = (await server.post("/v1/chat/completions", body)).json()["choices"][0]["message"]
    found = frames(await server.post("/v1/chat/completions", {**body, "stream": True}))[:-1]
    deltas = [chunk["choices"][0]["delta"] for chunk in found]
    assert message[name] == "".join(delta.get(name, "") for delta in deltas) == "AB"
    other = ({"reasoning", "reasoning_content"} - {name}).pop()
    assert not any(other in told for told in (message, *deltas))


# ---- schemas -------------------------------------------------------------------------------------------------------


class Noting(Fields):
    """Members of a body that note which names are asked for."""

    noted: set[str]

    def get(self, name: str) -> Any:
        if not self.where:
            self.noted.add(name)
        return super().get(name)

    def __contains__(self, name: str) -> bool:
        if not self.where:
            self.noted.add(name)
        return super().__contains__(name)


READERS: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "chat": (CHAT, lambda fields: read_chat(fields, {}), BODIES["/v1/chat/completions"]),
    "older chat": (CHAT, lambda fields: read_chat(fields, {}), {**BODIES["/v1/chat/completions"], "functions": []}),
    "completion": (COMPLETION, lambda fields: read_completion(fields, {}), BODIES["/v1/completions"]),
    "embeddings": (EMBEDDINGS, lambda fields: read_embeddings(fields, {}), {"model": "m", "input": "a"}),
    "response": (RESPONSE, lambda fields: read_response(fields, {}, StoredResponses()), BODIES["/v1/responses"]),
    "message": (MESSAGE, lambda fields: read_request(fields, {}), BODIES["/v1/messages"]),
    "count": (COUNT, lambda fields: read_request(fields, {}, is_count=True), BODIES["/v1/messages"]),
}  # fmt: skip
# What a reader only looks at to refuse it, or in another branch than the one taken here.
ELSEWHERE = {
    "max_tokens", "max_completion_tokens", "n_predict", "json_schema", "format", "tool_choice", "function_call",
    "functions", "output_format",
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
async def test_what_is_read_is_described(name: str) -> None:
    """The reader of a body and its schema are two texts; this holds them together."""
    schema, read, body = READERS[name]
    fields = Noting(body)
    fields.noted = set()
    read(fields)
    described = set(schema["properties"])
    ignored = {"max_tokens", "stream"} if name == "count" else set()
    assert fields.noted - ignored <= described
    assert described - fields.noted <= ELSEWHERE
