"""`/v1/messages`: objects and streams (compat-api 297-317)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from server.errors import ModelNotFound, PunaError
from server.messages.chat import Chunk, Usage
from tests.api.conftest import Server
from tests.api.openai_scripts import (
    CALL,
    CUT,
    EMPTY,
    HELLO,
    LENGTH,
    REASON,
    SAYCALL,
    STOP,
    TIME,
    TWOCALLS,
    WEATHER,
    events,
    script,
)

pytestmark = pytest.mark.anyio

PATH = "/v1/messages"
BODY: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("get_weather", "get_time")]


async def whole(server: Server, *chunks: Chunk, **members: Any) -> dict[str, Any]:
    server.inference.script = script(*chunks)
    value: dict[str, Any] = (await server.post(PATH, {**BODY, **members})).json()
    return value


async def streamed(server: Server, *chunks: Chunk, error: Exception | None = None, **members: Any) -> list[Any]:
    server.inference.script = script(*chunks, error=error)
    return events(await server.post(PATH, {**BODY, "stream": True, **members}))


def rebuilt(found: list[Any]) -> dict[str, Any]:
    """The message that a client puts together from its events."""
    message: dict[str, Any] = found[0]["message"]
    for event in found:
        if event["type"] == "content_block_start":
            assert event["index"] == len(message["content"])
            message["content"].append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            assert event["index"] == len(message["content"]) - 1
            name = {"input_json_delta": "json", "signature_delta": "signature"}.get(delta["type"])
            name = name or delta["type"].removesuffix("_delta")
            block[name] += delta[next(key for key in delta if key != "type")]
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    for block in message["content"]:
        arguments = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = json.loads(arguments)
    return message


def nameless(message: dict[str, Any]) -> dict[str, Any]:
    """Without what is made up anew each time."""
    blocks = [{k: v for k, v in block.items() if k not in ("id", "signature")} for block in message["content"]]
    return {**{k: v for k, v in message.items() if k != "id"}, "content": blocks}


async def test_the_object(server: Server) -> None:
    """compat-api 297, 304"""
    value = await whole(server, *HELLO)
    assert re.fullmatch(r"msg_[0-9a-f]{24}", value.pop("id"))
    assert value == {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 4,
            "output_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 5,
        },
    }


@pytest.mark.parametrize(
    ("chunks", "kinds", "reason"),
    [
        (EMPTY, [], "end_turn"),
        (REASON, ["thinking", "text"], "end_turn"),
        (CALL, ["tool_use"], "tool_use"),
        (SAYCALL, ["text", "tool_use"], "tool_use"),
        (TWOCALLS, ["tool_use", "tool_use"], "tool_use"),
        (CUT, ["text"], "max_tokens"),
        ((Chunk(tool_calls=(WEATHER,)), LENGTH), ["tool_use"], "max_tokens"),
        ((*REASON[:3], *REASON), ["thinking", "text", "thinking", "text"], "end_turn"),
        ((Chunk(tool_calls=(WEATHER, WEATHER)), STOP), ["tool_use", "tool_use"], "tool_use"),
    ],
)
async def test_blocks_whole_and_streamed(
    server: Server, chunks: tuple[Chunk, ...], kinds: list[str], reason: str
) -> None:
    """compat-api 298-302, 309-316"""
    value = await whole(server, *chunks, tools=TOOLS)
    assert [block["type"] for block in value["content"]] == kinds
    assert value["stop_reason"] == reason
    assert all(block["signature"] for block in value["content"] if block["type"] == "thinking")
    ids = [block["id"] for block in value["content"] if block["type"] == "tool_use"]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"toolu_\w{24}", one) for one in ids)
    assert nameless(rebuilt(await streamed(server, *chunks, tools=TOOLS))) == nameless(value)


async def test_a_stop_sequence_is_named(server: Server) -> None:
    """compat-api 303"""
    last = Chunk(done=True, reason="stop", usage=Usage(), stop_text="END")
    value = await whole(server, Chunk(text="Hi "), last, stop_sequences=["END"])
    assert (value["stop_reason"], value["stop_sequence"]) == ("stop_sequence", "END")
    ended = (await streamed(server, Chunk(text="Hi "), last, stop_sequences=["END"]))[-2]
    assert ended["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    of_the_model = await whole(server, Chunk(text="Hi "), last)
    assert (of_the_model["stop_reason"], of_the_model["stop_sequence"]) == ("end_turn", None)


async def test_the_events(server: Server) -> None:
    """compat-api 17, 305-308"""
    found = await streamed(server, Chunk(text="Hel", prompt_tokens=9), *HELLO[1:])
    assert [event["type"] for event in found] == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    started = found[0]["message"]
    assert (started["content"], started["stop_reason"], started["usage"]["input_tokens"]) == ([], None, 9)
    assert found[2]["content_block"] == {"type": "text", "text": ""}
    assert found[-2]["usage"]["output_tokens"] == 3
    assert found[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


async def test_a_call_without_arguments(server: Server) -> None:
    """compat-api 311, 312"""
    found = await streamed(server, Chunk(tool_calls=(TIME,)), STOP, tools=TOOLS)
    assert found[2]["content_block"]["input"] == {}
    assert found[3]["delta"] == {"type": "input_json_delta", "partial_json": "{}"}


async def test_one_call_at_most(server: Server) -> None:
    """compat-api 290"""
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    value = await whole(server, *TWOCALLS, tools=TOOLS, tool_choice=choice)
    assert [block["name"] for block in value["content"]] == ["get_weather"]


async def test_a_late_failure(server: Server) -> None:
    """compat-api 63"""
    found = await streamed(server, HELLO[0], error=PunaError("engine died"))
    assert found[-1]["type"] == "error"
    assert found[-1]["error"] == {"type": "api_error", "message": "engine died"}
    assert found[-1]["request_id"].startswith("req_")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_early_failure(server: Server, stream: bool) -> None:
    """compat-api 43"""
    server.inference.script = script(error=ModelNotFound("model 'm' not found"))
    answer = await server.post(PATH, {**BODY, "stream": stream})
    value = answer.json()
    assert (answer.status_code, value["type"], value["error"]["type"]) == (404, "error", "not_found_error")
    assert value["request_id"] == answer.headers["request-id"]
