"""`/v1/messages`: requests and blocks (compat-api 45-47, 269-296)."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from server.messages.chat import IMAGE_HERE, GenerationRequest, Message
from tests.api.conftest import EmptyCatalog, Server
from tests.api.openai_scripts import SCHEMA, STOP, script

pytestmark = pytest.mark.anyio

PATH = "/v1/messages"
HI = {"role": "user", "content": "hi"}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
TOOL = {"name": "f", "description": "d", "input_schema": SCHEMA}


class Thinking(EmptyCatalog):
    """Knows two models: `think` can, `m` cannot."""

    async def find(self, raw: str, endpoint: Any) -> Any:
        return SimpleNamespace(capabilities=("vision",), choice=SimpleNamespace(can_think=raw == "think"))


@pytest.fixture
def server(server: Server) -> Server:
    catalog: Any = Thinking()
    server.app.state.services = dataclasses.replace(server.services, catalog=catalog)
    return server


async def asked(server: Server, **members: Any) -> GenerationRequest:
    answer = await server.post(PATH, {"model": "m", "max_tokens": 100, "messages": [HI], **members})
    assert answer.status_code == 200, answer.text
    return server.inference.asked[-1]


async def messages(server: Server, *said: dict[str, Any], **members: Any) -> tuple[Message, ...]:
    return (await asked(server, messages=list(said), **members)).messages


async def refusal(server: Server, **members: Any) -> str:
    answer = await server.post(PATH, {"model": "m", "max_tokens": 100, "messages": [HI], **members})
    value = answer.json()
    assert (answer.status_code, value["type"], value["error"]["type"]) == (400, "error", "invalid_request_error")
    return str(value["error"]["message"])


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


# ---- members -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"model": "", "max_tokens": None}, "model is required"),
        ({"max_tokens": None}, "max_tokens is required and must be positive"),
        ({"max_tokens": 0}, "max_tokens is required and must be positive"),
        ({"max_tokens": -1}, "max_tokens is required and must be positive"),
        ({"messages": []}, "messages is required"),
    ],
)
async def test_refusals_in_the_order_of_the_reference(server: Server, members: dict[str, Any], sentence: str) -> None:
    """compat-api 45-47"""
    assert await refusal(server, **members) == sentence


async def test_sampling_and_stops(server: Server) -> None:
    """compat-api 70, 272, 273"""
    request = await asked(server, temperature=0.5, top_p=0.9, top_k=5, stop_sequences=["END"], max_tokens=32000)
    expected = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop": ["END"], "num_predict": 32000}
    assert request.options == expected
    bare = await asked(server)
    assert (bare.options, bare.default_options) == ({"num_predict": 100}, {})
    assert bare.truncate is False  # an agent must know when its context is full


async def test_system_texts(server: Server) -> None:
    """compat-api 269-271"""
    stamp = {"type": "text", "text": "x-anthropic-billing-header: v=1; cch=a1b2c;"}
    blocks = [stamp, {**text("a "), "cache_control": {"type": "ephemeral"}}, text("b")]
    for system, content in (("s", "s"), (blocks, "a b")):
        assert (await messages(server, HI, system=system))[0] == Message(role="system", content=content)
    for nothing in ("", [stamp], None):
        assert len(await messages(server, HI, system=nothing)) == 1
    assert "system" in await refusal(server, system=5)


@pytest.mark.parametrize(
    ("members", "think"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"output_config": {"effort": "xhigh"}}, "high"),
        ({"output_config": {"effort": "huge"}}, None),
        ({"output_config": {"effort": "xhigh"}, "thinking": {"type": "disabled"}}, False),
    ],
)
async def test_thinking(server: Server, members: dict[str, Any], think: Any) -> None:
    """compat-api 291, 292"""
    assert (await asked(server, model="think", **members)).think == think


async def test_a_model_that_cannot_think_answers_without(server: Server) -> None:
    """compat-api 52"""
    assert (await asked(server, thinking={"type": "enabled", "budget_tokens": 1024})).think is None


async def test_formats(server: Server) -> None:
    """compat-api 294"""
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    for members in ({"output_config": {"format": wanted}}, {"output_format": wanted}):
        assert (await asked(server, **members)).format == '{"type":"object"}'


# ---- blocks --------------------------------------------------------------------------------------------------------


async def test_results_come_before_the_words(server: Server) -> None:
    """compat-api 274, 275, 279-281"""
    call = {"role": "assistant", "content": [USE, {**USE, "id": "t2", "name": "g"}]}
    first = {"type": "tool_result", "tool_use_id": "t1", "content": [text("a"), text("b")]}
    second = {"type": "tool_result", "tool_use_id": "t2", "content": "no such file", "is_error": True}
    _, *rest = await messages(server, call, user(text("so"), first, second))
    assert [(message.role, message.content, message.tool_name) for message in rest] == [
        ("tool", "ab", "f"),
        ("tool", "Error: no such file", "g"),
        ("user", "so", ""),
    ]
    assert rest[0].tool_call_id == "t1"


async def test_the_assistants_blocks(server: Server) -> None:
    """compat-api 276, 277"""
    blocks = [{"type": "thinking", "thinking": word, "signature": "s"} for word in "ab"]
    (message,) = await messages(server, {"role": "assistant", "content": [*blocks, text("so"), USE]})
    assert (message.thinking, message.content, message.tool_calls[0].id) == ("a\nb", "so", "t1")


async def test_messages_that_say_nothing(server: Server) -> None:
    """compat-api 283, 284"""
    read = await messages(server, HI, {"role": "user", "content": None}, {"role": "system", "content": "left: 5"})
    assert [(message.role, message.content) for message in read] == [("user", "hi"), ("system", "left: 5")]
    assert "content" in await refusal(server, messages=[{"role": "user"}])


async def test_documents_and_other_blocks(server: Server) -> None:
    """compat-api 286"""
    document = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}
    found = {"type": "search_result", "source": "s", "title": "U", "content": [text("e")]}
    (message,) = await messages(server, user(document, found, {"type": "redacted_thinking", "data": "x"}, text("?")))
    assert message.content == "T\nd\nU\ne?"
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="}}
    assert "text" in await refusal(server, messages=[user(pdf)])


@pytest.mark.parametrize(
    ("block", "sentence"),
    [
        ({"type": "image"}, "invalid image source"),
        ({"type": "image", "source": {"type": "url", "url": "u"}},
         "invalid image source type: url. Only base64 images are supported."),
        ({**USE, "id": ""}, "tool_use block missing required 'id' field"),
        ({**USE, "name": None}, "tool_use block missing required 'name' field"),
        ({"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "image"}]},
         "invalid tool_result image source"),
    ],
)  # fmt: skip
async def test_blocks_that_cannot_be_read(server: Server, block: dict[str, Any], sentence: str) -> None:
    """compat-api 278, 282"""
    assert await refusal(server, messages=[user(block)]) == sentence


async def test_pictures(server: Server) -> None:
    """compat-api 279, 282"""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [picture]}
    shown, said = await messages(server, user(picture, text("?"), result))
    assert (shown.images, said.images, said.content) == ((b"A",), (b"A",), "?")
    (said,) = await messages(server, user(text("one "), picture, text(" two "), picture))
    assert (said.images, said.content) == ((b"A", b"A"), f"one {IMAGE_HERE} two {IMAGE_HERE}")
    broken = {**picture, "source": {"type": "base64", "data": "@@@"}}
    assert "base64" in await refusal(server, messages=[user(broken)])


# ---- tools ---------------------------------------------------------------------------------------------------------


async def test_tools(server: Server) -> None:
    """compat-api 288, 295, 296"""
    tools = [
        {**TOOL, "cache_control": {"type": "ephemeral"}},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "code_execution_20250522", "name": "code_execution"},
    ]
    offered = (await asked(server, tools=tools)).tools
    assert offered[0] == {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
    assert [tool["function"]["name"] for tool in offered] == ["f", "bash", "str_replace_based_edit_tool"]
    assert offered[1]["function"]["parameters"]["properties"]["command"]["type"] == "string"
    assert "input_schema" in await refusal(server, tools=[{"name": "f", "input_schema": 5}])


@pytest.mark.parametrize(
    ("choice", "count", "must_call"),
    [({"type": "auto"}, 2, False), ({"type": "any"}, 2, True), ({"type": "tool", "name": "g"}, 1, True),
     ({"type": "none"}, 0, False)],
)  # fmt: skip
async def test_tool_choice(server: Server, choice: dict[str, Any], count: int, must_call: bool) -> None:
    """compat-api 289"""
    request = await asked(server, tools=[TOOL, {**TOOL, "name": "g"}], tool_choice=choice)
    assert (len(request.tools), request.must_call) == (count, must_call)


# ---- counting ------------------------------------------------------------------------------------------------------


async def test_counting_tokens(server: Server) -> None:
    """compat-api 318, 320"""
    server.inference.script = script(STOP)
    answer = await server.post(f"{PATH}/count_tokens", {"model": "m", "messages": [HI], "system": "s", "tools": [TOOL]})
    assert answer.json() == {"input_tokens": 9}
    request = server.inference.asked[-1]
    assert (request.count_only, request.options["num_predict"], len(request.messages)) == (True, 1, 2)
    answer = await server.post(f"{PATH}/count_tokens", {"model": "m", "messages": []})
    assert (answer.status_code, answer.json()["type"]) == (400, "error")
