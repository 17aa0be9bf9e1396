"""`/v1/chat/completions`: objects and streams (compat-api 13-16, 55-60, 77, 84, 90, 91, 125-140, 149-172)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from server.errors import NotImplementedYet, PunaError, ServerBusy
from server.messages.chat import Chunk, TokenLogprob, TopLogprob
from tests.api.conftest import Server
from tests.api.openai_scripts import (
    CALL,
    CUT,
    EMPTY,
    HELLO,
    REASON,
    SAYCALL,
    SCHEMA,
    STOP,
    TOOLS,
    TWOCALLS,
    WEATHER,
    frames,
    script,
)

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]


def body(**members: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HI, **members}


# ---- objects -------------------------------------------------------------------------------------------------------


async def test_the_object(server: Server) -> None:
    """compat-api 13, 15, 92, 153, 156, 157"""
    server.inference.script = script(*HELLO)
    answer = await server.post(PATH, body())
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    value = answer.json()
    assert re.fullmatch(r"chatcmpl-\w{24}", value.pop("id"))
    assert isinstance(value.pop("created"), int)
    value.pop("system_fingerprint")
    assert value == {
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": None}, "finish_reason": "stop"}
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        "timings": {
            "cache_n": 5,
            "prompt_n": 4,
            "prompt_ms": 2.0,
            "prompt_per_token_ms": 0.5,
            "prompt_per_second": 2000.0,
            "predicted_n": 3,
            "predicted_ms": 6.0,
            "predicted_per_token_ms": 2.0,
            "predicted_per_second": 500.0,
        },
    }


async def test_timings_in_a_stream(server: Server) -> None:
    """compat-api 158, 174"""
    server.inference.script = script(
        Chunk(text="Hel", prompt_tokens=9, cached_tokens=5, eval_tokens=1), Chunk(text="lo", eval_tokens=2), STOP
    )
    *pieces, finish, _ = frames(await server.post(PATH, body(stream=True)))
    assert all("timings" not in chunk for chunk in pieces)
    assert (finish["timings"]["predicted_n"], finish["timings"]["prompt_n"]) == (3, 4)
    found = frames(await server.post(PATH, body(stream=True, timings_per_token=True)))[:-1]
    assert [chunk["timings"]["predicted_n"] for chunk in found] == [1, 2, 3]
    assert {(chunk["timings"]["prompt_n"], chunk["timings"]["cache_n"]) for chunk in found} == {(4, 5)}


async def test_calls_in_the_object(server: Server) -> None:
    """compat-api 125-127"""
    server.inference.script = script(*TWOCALLS)
    (choice,) = (await server.post(PATH, body(tools=TOOLS))).json()["choices"]
    first, second = choice["message"]["tool_calls"]
    assert first["id"] != second["id"]
    assert re.fullmatch(r"call_\w{24}", first["id"])
    assert (first["index"], second["index"], first["type"]) == (0, 1, "function")
    assert first["function"] == {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    assert second["function"] == {"name": "get_time", "arguments": "{}"}
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "tool_calls")


async def test_one_call_at_most(server: Server) -> None:
    """compat-api 133"""
    server.inference.script = script(*TWOCALLS)
    (choice,) = (await server.post(PATH, body(tools=TOOLS, parallel_tool_calls=False))).json()["choices"]
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["get_weather"]


async def test_functions_from_before_tools(server: Server) -> None:
    """compat-api 90"""
    server.inference.script = script(*CALL)
    members = {"functions": [{"name": "get_weather", "parameters": SCHEMA}], "function_call": "auto"}
    (choice,) = (await server.post(PATH, body(**members))).json()["choices"]
    assert choice["message"]["function_call"] == {"name": "get_weather", "arguments": '{"city":"Paris"}'}
    assert choice["finish_reason"] == "function_call"
    whole = frames(await server.post(PATH, body(**members, stream=True)))
    assert [frame["choices"][0]["finish_reason"] for frame in whole[:-1]][-1] == "function_call"


async def test_thoughts_have_both_names_or_none(server: Server) -> None:
    """compat-api 136, 139, 140"""
    server.inference.script = script(*REASON)
    message = (await server.post(PATH, body())).json()["choices"][0]["message"]
    assert (message["reasoning"], message["reasoning_content"], message["content"]) == ("AB", "AB", "4")
    hidden = body(reasoning={"effort": "low", "exclude": True})
    message = (await server.post(PATH, hidden)).json()["choices"][0]["message"]
    assert "reasoning" not in message
    assert "reasoning_content" not in message


@pytest.mark.parametrize(("chunks", "reason"), [(CUT, "length"), ((*CALL[:1], CUT[1]), "length"), (EMPTY, "stop")])
async def test_how_it_ended(server: Server, chunks: tuple[Chunk, ...], reason: str) -> None:
    """compat-api 134, 155"""
    server.inference.script = script(*chunks)
    assert (await server.post(PATH, body())).json()["choices"][0]["finish_reason"] == reason


async def test_a_limit_of_nothing_is_an_answer_of_nothing(server: Server) -> None:
    """compat-api 77"""
    server.inference.script = script(*HELLO)
    value = (await server.post(PATH, body(max_tokens=0))).json()
    assert value["choices"][0]["message"]["content"] == ""
    assert value["choices"][0]["finish_reason"] == "length"
    assert value["usage"]["completion_tokens"] == 0


async def test_several_choices(server: Server) -> None:
    """compat-api 84"""
    server.inference.script = script(*HELLO)
    value = (await server.post(PATH, body(n=2, seed=7))).json()
    assert [(choice["index"], choice["message"]["content"]) for choice in value["choices"]] == [
        (0, "Hello"),
        (1, "Hello"),
    ]
    assert (value["usage"]["prompt_tokens"], value["usage"]["completion_tokens"]) == (9, 6)
    assert [request.options["seed"] for request in server.inference.asked] == [7, 8]


async def test_log_probabilities(server: Server) -> None:
    """compat-api 149-151"""
    entry = TokenLogprob("Hi", -0.5, (72, 105), (TopLogprob("Hi", -0.5, (72, 105)),))
    server.inference.script = script(Chunk(text="Hi", logprobs=(entry,)), STOP)
    value = (await server.post(PATH, body(logprobs=True, top_logprobs=1))).json()
    alternative = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    assert value["choices"][0]["logprobs"] == {
        "content": [{**alternative, "top_logprobs": [alternative]}],
        "refusal": None,
    }
    request = server.inference.asked[-1]
    assert (request.logprobs, request.top_logprobs) == (True, 1)


async def test_only_rendering(server: Server) -> None:
    """compat-api 91"""
    server.inference.script = script(Chunk(rendered="<p>", image_count=1))
    value = (await server.post(PATH, body(_debug_render_only=True, stream=True))).json()
    assert value["_debug_info"] == {"rendered_template": "<p>", "image_count": 1}


async def test_what_the_model_did_not_see_is_told_in_headers(server: Server) -> None:
    """compat-api 66: a shortened conversation is not silent"""
    server.inference.script = script(Chunk(text="Hi", dropped_messages=3), STOP)
    for stream in (False, True):
        answer = await server.post(PATH, body(stream=stream))
        assert answer.headers["x-puna-dropped-messages"] == "3"


# ---- streams -------------------------------------------------------------------------------------------------------


async def test_the_stream(server: Server) -> None:
    """compat-api 16, 159-164"""
    server.inference.script = script(*HELLO)
    found = frames(await server.post(PATH, body(stream=True, stream_options={"include_usage": True})))
    *chunks, usage, end = found
    assert end == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]
    assert len({(chunk["id"], chunk["created"], chunk["object"]) for chunk in found[:-1]}) == 1
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert all("usage" not in chunk for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 12


async def test_the_stream_of_an_empty_answer(server: Server) -> None:
    """compat-api 165"""
    server.inference.script = script(*EMPTY)
    role, finish, _ = frames(await server.post(PATH, body(stream=True)))
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert finish["choices"][0]["finish_reason"] == "stop"


async def test_all_at_once_becomes_frames_of_their_own(server: Server) -> None:
    """compat-api 166-168"""
    server.inference.script = script(Chunk(thinking="A", text="4", done=True, reason="stop"))
    thought, text, finish, _ = frames(await server.post(PATH, body(stream=True)))
    assert thought["choices"][0]["delta"]["reasoning"] == "A"
    assert text["choices"][0]["delta"] == {"content": "4"}
    assert finish["choices"][0]["delta"] == {}


async def test_streamed_calls(server: Server) -> None:
    """compat-api 169-171"""
    server.inference.script = script(*SAYCALL[:2], *TWOCALLS[1:])
    found = frames(await server.post(PATH, body(stream=True, tools=TOOLS)))[:-1]
    pieces = [call for frame in found for call in frame["choices"][0]["delta"].get("tool_calls", ())]
    assert [piece["index"] for piece in pieces] == [0, 0, 1, 1]
    assert [piece.get("function", {}).get("name") for piece in pieces] == ["get_weather", None, "get_time", None]
    assert ["id" in piece for piece in pieces] == [True, False, True, False]
    texts = ["".join(piece["function"]["arguments"] for piece in pieces if piece["index"] == at) for at in (0, 1)]
    assert [json.loads(text) for text in texts] == [{"city": "Paris"}, {}]
    assert found[0]["choices"][0]["delta"]["content"] == "Checking."
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_streamed_choices(server: Server) -> None:
    """compat-api 172"""
    server.inference.script = script(*HELLO)
    found = frames(await server.post(PATH, body(stream=True, n=2, stream_options={"include_usage": True})))
    choices = [frame["choices"][0] for frame in found[:-2]]
    for index in (0, 1):
        mine = [choice for choice in choices if choice["index"] == index]
        assert ["role" in choice["delta"] for choice in mine] == [True, False, False]
        assert [choice["finish_reason"] for choice in mine] == [None, None, "stop"]
    assert found[-2]["usage"]["completion_tokens"] == 6


async def test_an_engine_without_a_last_word(server: Server) -> None:
    """compat-api 360"""
    server.inference.script = script(Chunk(text="Hi"))
    found = frames(await server.post(PATH, body(stream=True)))
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert found[-1] == "[DONE]"


# ---- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_an_early_failure_keeps_its_status(server: Server, stream: bool) -> None:
    """compat-api 57, 58"""
    server.inference.script = script(error=PunaError("engine died"))
    answer = await server.post(PATH, body(stream=stream))
    assert (answer.status_code, answer.headers["x-should-retry"]) == (500, "false")
    assert answer.json()["error"] == {
        "message": "engine died",
        "type": "api_error",
        "param": None,
        "code": "internal_error",
    }


async def test_a_late_failure_is_told_in_the_stream(server: Server) -> None:
    """compat-api 60"""
    server.inference.script = script(Chunk(text="Hel"), error=PunaError("engine died"))
    text, error, end = frames(await server.post(PATH, body(stream=True)))
    assert text["choices"][0]["delta"]["content"] == "Hel"
    assert error["error"]["message"] == "engine died"
    assert end == "[DONE]"


async def test_a_full_queue(server: Server) -> None:
    """compat-api 55"""
    server.inference.script = script(error=ServerBusy())
    answer = await server.post(PATH, body())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["type"] == "overloaded_error"


async def test_what_is_not_built_is_not_tried_again(server: Server) -> None:
    server.inference.script = script(error=NotImplementedYet("not yet"))
    answer = await server.post(PATH, body())
    assert (answer.status_code, answer.headers["x-should-retry"]) == (501, "false")


async def test_answers_have_ids_of_their_own(server: Server) -> None:
    """compat-api 154"""
    server.inference.script = script(*HELLO)
    ids = {(await server.post(PATH, body())).json()["id"] for _ in range(1000)}
    assert len(ids) == 1000
    assert all(each.startswith("chatcmpl-") for each in ids)


async def test_calls_have_ids_of_their_own(server: Server) -> None:
    """compat-api 126"""
    server.inference.script = script(Chunk(tool_calls=(WEATHER, WEATHER)), STOP)
    calls = (await server.post(PATH, body(tools=TOOLS))).json()["choices"][0]["message"]["tool_calls"]
    assert calls[0]["id"] != calls[1]["id"]
