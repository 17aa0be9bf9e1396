"""`/v1/responses`: objects, events, and responses that are kept (compat-api 246-266)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from server.api.responses_api_store import Stored, StoredResponses
from server.errors import PunaError
from server.messages.chat import Chunk, ToolCall, ToolFunction
from tests.api.conftest import Server
from tests.api.openai_scripts import (
    CALL,
    CUT,
    EMPTY,
    HELLO,
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

PATH = "/v1/responses"


async def whole(server: Server, *chunks: Chunk, **members: Any) -> dict[str, Any]:
    server.inference.script = script(*chunks)
    value: dict[str, Any] = (await server.post(PATH, {"model": "m", "input": "hi", **members})).json()
    return value


async def streamed(server: Server, *chunks: Chunk, error: Exception | None = None, **members: Any) -> list[Any]:
    server.inference.script = script(*chunks, error=error)
    found = events(await server.post(PATH, {"model": "m", "input": "hi", "stream": True, **members}))
    assert [event["sequence_number"] for event in found] == list(range(len(found)))  # compat-api 255
    return found


def types(found: list[Any]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in found]


# ---- objects -------------------------------------------------------------------------------------------------------


async def test_the_object(server: Server) -> None:
    """compat-api 246, 247"""
    value = await whole(server, *HELLO)
    assert re.fullmatch(r"resp_\w{24}", value["id"])
    assert (value["status"], value["error"], value["incomplete_details"]) == ("completed", None, None)
    (item,) = value["output"]
    assert re.fullmatch(r"msg_\w{24}", item.pop("id"))
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    assert item == {"type": "message", "status": "completed", "role": "assistant", "content": [part]}
    assert value["usage"] == {
        "input_tokens": 9,
        "output_tokens": 3,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 5},
        "output_tokens_details": {"reasoning_tokens": 2},
    }


@pytest.mark.parametrize(
    ("chunks", "kinds"),
    [
        (EMPTY, ["message"]),
        (REASON, ["reasoning", "message"]),
        (SAYCALL, ["message", "function_call"]),
        (TWOCALLS, ["function_call", "function_call"]),
        ((*CALL[:1], *HELLO), ["function_call", "message"]),
    ],
)
async def test_items_stand_in_the_order_of_generation(server: Server, chunks: Any, kinds: list[str]) -> None:
    """compat-api 248-251, 257, 261-263: the same items whole and streamed"""
    value = await whole(server, *chunks)
    assert [item["type"] for item in value["output"]] == kinds
    found = await streamed(server, *chunks)
    final = found[-1]["response"]
    assert final.keys() == value.keys()
    assert [item["type"] for item in final["output"]] == kinds
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert done == final["output"]
    added = [event["output_index"] for event in found if event["type"] == "response.output_item.added"]
    assert added == list(range(len(kinds)))
    assert len({item["id"] for item in done}) == len(done)


async def test_reasoning_and_calls(server: Server) -> None:
    """compat-api 249, 250"""
    reasoning = (await whole(server, *REASON))["output"][0]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "AB"}]
    assert reasoning["encrypted_content"] == "AB"
    (call,) = (await whole(server, *CALL))["output"]
    assert (call["name"], call["arguments"], call["status"]) == ("get_weather", '{"city":"Paris"}', "completed")
    assert call["call_id"].startswith("call_")


async def test_a_cut_answer(server: Server) -> None:
    """compat-api 252, 264"""
    value = await whole(server, *CUT)
    assert (value["status"], value["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    found = await streamed(server, *CUT)
    assert found[-1]["type"] == "response.incomplete"
    assert found[-1]["response"]["output"][0]["status"] == "incomplete"


async def test_names_as_the_client_knows_them(server: Server) -> None:
    """compat-api 241, 242"""
    tools = [
        {"type": "namespace", "name": "muse", "tools": [{"type": "function", "name": "bash"}]},
        {"type": "custom", "name": "patch"},
    ]
    calls = (
        ToolCall(function=ToolFunction(name="muse.bash", arguments={"a": 1})),
        ToolCall(function=ToolFunction(name="patch", arguments={"input": "*** Begin"})),
    )
    bash, patch = (await whole(server, Chunk(tool_calls=calls), STOP, tools=tools))["output"]
    assert (bash["name"], bash["namespace"]) == ("bash", "muse")
    assert (patch["type"], patch["name"], patch["input"]) == ("custom_tool_call", "patch", "*** Begin")
    found = await streamed(server, Chunk(tool_calls=calls[1:]), STOP, tools=tools)
    steps = ["custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done"]
    assert types(found)[3:6] == steps


async def test_one_call_at_most(server: Server) -> None:
    tools = [{"type": "function", "name": name} for name in ("get_weather", "get_time")]
    both = Chunk(tool_calls=(WEATHER, TIME))
    value = await whole(server, both, STOP, tools=tools, parallel_tool_calls=False)
    assert [item["name"] for item in value["output"]] == ["get_weather"]
    assert value["parallel_tool_calls"] is False


# ---- events --------------------------------------------------------------------------------------------------------


async def test_the_events_of_a_text(server: Server) -> None:
    """compat-api 253, 254, 256, 257, 266"""
    found = await streamed(server, *HELLO)
    assert types(found) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    started = found[0]["response"]
    assert (started["status"], started["output"], started["usage"]) == ("in_progress", [], None)
    assert "".join(event["delta"] for event in found[4:6]) == found[6]["text"] == "Hello"


async def test_the_events_of_reasoning(server: Server) -> None:
    """compat-api 258, 259"""
    found = await streamed(server, *REASON)
    assert types(found)[2:9] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done",
        "output_item.done",
    ]  # fmt: skip
    assert {event["summary_index"] for event in found[3:8]} == {0}
    assert found[9]["output_index"] == 1


async def test_the_events_of_a_call(server: Server) -> None:
    """compat-api 260"""
    found = await streamed(server, *CALL)
    assert types(found)[2:] == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert {event["output_index"] for event in found[2:6]} == {0}
    assert found[2]["item"]["arguments"] == ""
    assert found[4]["arguments"] == '{"city":"Paris"}'


async def test_a_late_failure(server: Server) -> None:
    """compat-api 62"""
    found = await streamed(server, HELLO[0], error=PunaError("engine died"))
    assert types(found)[-2:] == ["output_item.done", "failed"]
    assert found[-2]["item"]["status"] == "incomplete"
    response = found[-1]["response"]
    assert (response["status"], response["error"]["message"]) == ("failed", "engine died")
    assert "error" not in found[-1]


# ---- kept responses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_on_by_id(server: Server, stream: bool) -> None:
    first = (await whole(server, *REASON))["id"]
    if stream:
        second = (await streamed(server, *HELLO, previous_response_id=first))[-1]["response"]["id"]
    else:
        second = (await whole(server, *HELLO, previous_response_id=first))["id"]
    said = [(message.role, message.content, message.thinking) for message in server.inference.asked[-1].messages]
    assert said == [("user", "hi", ""), ("assistant", "4", "AB"), ("user", "hi", "")]
    await whole(server, *HELLO, previous_response_id=second)
    assert len(server.inference.asked[-1].messages) == 5


async def test_kept_responses_can_be_read_and_forgotten(server: Server) -> None:
    value = await whole(server, *HELLO)
    path = f"{PATH}/{value['id']}"
    assert (await server.client.get(path)).json() == value
    items = (await server.client.get(f"{path}/input_items")).json()
    assert [item["content"] for item in items["data"]] == ["hi"]
    assert (await server.client.delete(path)).json()["deleted"] is True
    assert (await server.client.get(path)).status_code == 404
    assert (await server.client.delete(path)).status_code == 404


async def test_a_response_that_shall_not_be_kept_is_not(server: Server) -> None:
    value = await whole(server, *HELLO, store=False)
    assert (await server.client.get(f"{PATH}/{value['id']}")).status_code == 404


async def test_the_length_of_a_prompt(server: Server) -> None:
    """compat-api 321"""
    server.inference.script = script(STOP)
    answer = await server.post(f"{PATH}/input_tokens", {"model": "m", "input": "hi"})
    assert answer.json() == {"object": "response.input_tokens", "input_tokens": 9}


def stored(identifier: str, size: int = 1) -> Stored:
    return Stored(["x" * size], {"id": identifier, "output": []})


def test_the_store_is_bounded() -> None:
    now = [0.0]
    store = StoredResponses(lambda: now[0], max_responses=2, max_bytes=1000, kept_seconds=60)
    for name in ("a", "b", "c"):
        store.keep(stored(name))
    assert (store.get("a"), store.get("b")) == (None, stored("b"))
    store.keep(stored("d"))
    assert store.get("c") is None  # b was asked for after it
    store.keep(stored("huge", 2000))
    assert store.get("huge") is None
    store.keep(stored("large", 900))
    assert store.get("b") is None
    now[0] = 61.0
    assert store.get("large") is None
    assert repr(store) == "<0 responses, 0 bytes>"
