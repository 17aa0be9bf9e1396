"""`/v1/chat/completions`: what reaches the inference (compat-api 3-5, 41-54, 65, 71-95, 123-147)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.api.openai_request import DEFAULT_OPTIONS
from server.messages.chat import GenerationRequest
from tests.api.conftest import Server
from tests.api.openai_scripts import (
    SCHEMA,
    STOP,
    TOOLS,
    script,
)

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]


def body(**members: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HI, **members}


async def asked(server: Server, headers: dict[str, str] | None = None, **members: Any) -> GenerationRequest:
    answer = await server.post(PATH, body(**members), headers=headers or {})
    assert answer.status_code == 200, answer.text
    return server.inference.asked[-1]


async def refused(server: Server, **members: Any) -> dict[str, Any]:
    answer = await server.post(PATH, body(**members))
    assert answer.status_code == 400, answer.text
    assert server.inference.asked == []
    error: dict[str, Any] = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["type"] == "invalid_request_error"
    return error


# ---- requests ------------------------------------------------------------------------------------------------------


async def test_what_nobody_says_is_left_to_the_model_and_then_to_openai(server: Server) -> None:
    """compat-api 71, 72"""
    request = await asked(server)
    assert request.options == {}
    assert request.default_options == DEFAULT_OPTIONS == {"temperature": 1.0, "top_p": 1.0}


@pytest.mark.parametrize(
    ("members", "options"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"max_tokens": 7}, {"num_predict": 7}),
        ({"max_tokens": 10.0}, {"num_predict": 10}),
        ({"max_tokens": 7, "max_completion_tokens": 8}, {"num_predict": 8}),
        ({"seed": 42, "frequency_penalty": 0.5, "presence_penalty": -0.5},
         {"seed": 42, "frequency_penalty": 0.5, "presence_penalty": -0.5}),
        ({"stop": "END"}, {"stop": ["END"]}),
        ({"stop": ["a", ""]}, {"stop": ["a"]}),
        ({"seed": None, "stop": None, "tools": None}, {}),
        ({"top_k": 5, "min_p": 0.1, "repeat_penalty": 1.2}, {"top_k": 5, "min_p": 0.1, "repeat_penalty": 1.2}),
        ({"options": {"top_k": 5, "num_ctx": 64}, "top_k": 6}, {"top_k": 6, "num_ctx": 64}),
        ({"user": "u", "store": True, "metadata": {}, "verbosity": "low"}, {}),
    ],
)  # fmt: skip
async def test_options(server: Server, members: dict[str, Any], options: dict[str, Any]) -> None:
    """compat-api 3, 4, 73-76, 78, 79, 81, 82, 88"""
    assert (await asked(server, **members)).options == options


@pytest.mark.parametrize(
    ("members", "seconds"), [({"keep_alive": 0}, 0.0), ({"keep_alive": "5m"}, 300.0), ({"keep_alive": -1}, -1.0)]
)
async def test_keep_alive(server: Server, members: dict[str, Any], seconds: float) -> None:
    """compat-api 83"""
    assert (await asked(server, **members)).keep_alive_seconds == seconds


async def test_how_the_model_is_run_can_be_said_by_header(server: Server) -> None:
    headers = {"X-Puna-Keep-Alive": "90", "X-Puna-Num-Ctx": "512"}
    request = await asked(server, headers)
    assert (request.keep_alive_seconds, request.options) == (90.0, {"num_ctx": 512})
    request = await asked(server, headers, keep_alive="1m", num_ctx=1024)
    assert (request.keep_alive_seconds, request.options) == (60.0, {"num_ctx": 1024})


@pytest.mark.parametrize(
    ("members", "think"),
    [({"reasoning_effort": effort}, think) for effort, think in [
        ("none", False), ("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "max"),
        ("ultra", "max"), ("max", "max"), ("", None)]]
    + [
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, "low"),
        ({"reasoning": {}, "reasoning_effort": "high"}, "high"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"reasoning": {"enabled": True}}, True),
        ({"think": True}, True),
    ],
)  # fmt: skip
async def test_reasoning(server: Server, members: dict[str, Any], think: Any) -> None:
    """compat-api 135, 137, 138"""
    assert (await asked(server, **members)).think == think


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"type": "text"}, ""),
        ({"type": " JSON_OBJECT "}, '"json"'),
        ({"type": "json_object", "schema": SCHEMA}, json.dumps(SCHEMA, separators=(",", ":"))),
        ({"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}},
         json.dumps(SCHEMA, separators=(",", ":"))),
    ],
)  # fmt: skip
async def test_formats(server: Server, wanted: dict[str, Any], text: str) -> None:
    """compat-api 142-144, 146"""
    assert (await asked(server, response_format=wanted)).format == text


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"max_tokens": "ten"}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": 7}, "stop"),
        ({"n": 9}, "n"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": -1}, "top_logprobs"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, "chat_template_kwargs.enable_thinking"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.schema"),
        ({"modalities": ["text", "audio"], "audio": {}}, "modalities"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "fly"}}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"messages": []}, "messages"),
        ({"model": "  "}, "model"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ],
)
async def test_refusals_name_the_member(server: Server, members: dict[str, Any], param: str) -> None:
    """compat-api 5, 41, 44, 53, 54, 80, 85, 89, 93, 131, 145, 147"""
    assert (await refused(server, **members))["param"] == param


@pytest.mark.parametrize(
    "members", [{"options": {"num_ctx": "big"}}, {"add_generation_prompt": True, "continue_final_message": True}]
)
async def test_other_refusals(server: Server, members: dict[str, Any]) -> None:
    """compat-api 65, 95"""
    await refused(server, **members)


async def test_schemas_of_tools_reach_the_model_whole(server: Server) -> None:
    """compat-api 123, 124"""
    schema = {"type": "object", "oneOf": [{"$ref": "#/x"}], "properties": {"b": True, "a": {"default": 1}}}
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}
    (got,) = (await asked(server, tools=[tool])).tools
    assert list(got["function"]["parameters"]["properties"]) == ["b", "a"]
    assert got["function"]["parameters"] == schema


@pytest.mark.parametrize(
    ("choice", "names", "must_call"),
    [
        (None, ["get_weather", "get_time"], False),
        ("auto", ["get_weather", "get_time"], False),
        ("none", [], False),
        ("required", ["get_weather", "get_time"], True),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"], True),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": TOOLS[:1]}}, ["get_weather"], False),
    ],
)
async def test_tool_choice(server: Server, choice: Any, names: list[str], must_call: bool) -> None:
    """compat-api 128-130, 132"""
    request = await asked(server, tools=TOOLS, tool_choice=choice)
    assert [tool["function"]["name"] for tool in request.tools] == names
    assert request.must_call is must_call


async def test_the_length_of_a_prompt(server: Server) -> None:
    server.inference.script = script(STOP)
    answer = await server.post(f"{PATH}/input_tokens", body())
    assert answer.json() == {"object": "response.input_tokens", "input_tokens": 9}
    assert server.inference.asked[-1].count_only
