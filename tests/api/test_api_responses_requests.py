"""`/v1/responses`: items, tools and members of a request (compat-api 215-245)."""

from __future__ import annotations

from typing import Any

import pytest

from server.messages.chat import IMAGE_HERE, GenerationRequest, Message
from tests.api.conftest import Server
from tests.api.openai_scripts import SCHEMA

pytestmark = pytest.mark.anyio

PATH = "/v1/responses"
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "1"}
USER = {"role": "user", "content": "hi"}


async def asked(server: Server, **members: Any) -> tuple[GenerationRequest, dict[str, Any]]:
    answer = await server.post(PATH, {"model": "m", "input": "hi", **members})
    assert answer.status_code == 200, answer.text
    return server.inference.asked[-1], answer.json()


async def messages(server: Server, *items: dict[str, Any]) -> tuple[Message, ...]:
    return (await asked(server, input=list(items)))[0].messages


async def refusal(server: Server, **members: Any) -> dict[str, Any]:
    answer = await server.post(PATH, {"model": "m", "input": "hi", **members})
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


# ---- members -------------------------------------------------------------------------------------------------------


async def test_what_is_echoed(server: Server) -> None:
    """compat-api 216, 217, 219, 223"""
    request, value = await asked(
        server,
        instructions="be brief",
        max_output_tokens=5,
        temperature=0.2,
        reasoning={"effort": "minimal", "summary": "auto"},
        metadata={"a": "b"},
        truncation="auto",
    )
    assert [message.role for message in request.messages] == ["system", "user"]
    assert request.options == {"num_predict": 5, "temperature": 0.2}
    assert (request.think, request.truncate) == ("low", True)
    assert (value["instructions"], value["max_output_tokens"], value["temperature"]) == ("be brief", 5, 0.2)
    assert value["reasoning"] == {"effort": "minimal", "summary": "auto"}
    assert (value["metadata"], value["truncation"]) == ({"a": "b"}, "auto")


async def test_what_nobody_said(server: Server) -> None:
    """compat-api 68, 218: a conversation is not shortened unless that is asked for"""
    request, value = await asked(server)
    assert (request.options, request.truncate, request.think) == ({}, False, None)
    assert (value["temperature"], value["top_p"], value["truncation"], value["reasoning"]) == (1, 1, "disabled", None)
    assert (value["tools"], value["tool_choice"], value["text"]) == ([], "auto", {"format": {"type": "text"}})


async def test_formats(server: Server) -> None:
    """compat-api 220"""
    wanted = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    request, value = await asked(server, text={"format": wanted})
    assert (request.format, value["text"]) == ('{"type":"object"}', {"format": wanted})
    request, _ = await asked(server, text={"format": {"type": "json_object"}})
    assert request.format == '"json"'


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"input": [{"content": "hi"}]}, "input[0]"),
        ({"input": [{"type": "banana"}]}, "input[0]"),
        ({"input": [USER, {"role": "user", "content": [{"type": "banana"}]}]}, "input[1].content[0]"),
        ({"input": [{**CALL, "arguments": "{bad"}]}, "input[0].arguments"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
    ],
)
async def test_refusals(server: Server, members: dict[str, Any], param: str) -> None:
    """compat-api 215, 222, 225-227, 238, 239"""
    assert (await refusal(server, **members))["param"] == param


async def test_an_earlier_response_that_is_not_known(server: Server) -> None:
    """compat-api 221"""
    answer = await server.post(PATH, {"model": "m", "input": "hi", "previous_response_id": "resp_1"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
    assert (await asked(server, previous_response_id=None))[1]["previous_response_id"] is None


# ---- items ---------------------------------------------------------------------------------------------------------


async def test_messages(server: Server) -> None:
    """compat-api 224, 229"""
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_image", "file_id": "f"}]
    parts += [{"type": "input_image", "image_url": "data:image/png;base64,QQ=="}, {"type": "input_text", "text": "b"}]
    read = await messages(server, USER, {"type": "message", "role": "developer", "content": parts})
    assert read == (
        Message(role="user", content="hi"),
        Message(role="system", content=f"a{IMAGE_HERE}b", images=(b"A",)),
    )
    error = await refusal(server, input=[{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}])
    assert error["message"] == "file inputs are not currently supported"  # compat-api 228


async def test_calls_join_the_message_before_them(server: Server) -> None:
    """compat-api 230, 231"""
    read = await messages(server, {"role": "assistant", "content": "so"}, CALL, {**CALL, "call_id": "c2"})
    assert [(message.content, len(message.tool_calls)) for message in read] == [("so", 2)]
    assert [call.function.index for call in read[0].tool_calls] == [0, 1]


async def test_words_between_a_call_and_its_result(server: Server) -> None:
    """compat-api 232"""
    read = await messages(server, USER, CALL, {"role": "assistant", "content": "wait"}, RESULT)
    assert [message.role for message in read] == ["user", "assistant", "tool"]
    assert (read[1].content, read[1].tool_calls[0].function.name) == ("wait", "f")
    assert (read[2].tool_name, read[2].tool_call_id, read[2].content) == ("f", "c1", "1")


async def test_results_of_parts_or_of_nothing(server: Server) -> None:
    """compat-api 233"""
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:image/png;base64,QQ=="}]
    read = await messages(server, CALL, {**RESULT, "output": parts}, {"type": "function_call_output", "call_id": "c1"})
    assert [(message.content, message.images) for message in read[1:]] == [(f"a{IMAGE_HERE}", (b"A",)), ("", ())]


async def test_reasoning(server: Server) -> None:
    """compat-api 234-236"""
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}]}
    encrypted = {"type": "reasoning", "summary": [], "encrypted_content": "e"}
    read = await messages(server, USER, encrypted, CALL, RESULT, summary)
    assert [(message.role, message.thinking) for message in read] == [
        ("user", ""),
        ("assistant", "e"),
        ("tool", ""),
        ("assistant", "s"),
    ]


async def test_what_agents_send_back(server: Server) -> None:
    """compat-api 237, 238, 353"""
    passed_over = ("web_search_call", "compaction", "mcp_list_tools", "tool_search_call", "tool_search_output")
    shell = {"type": "local_shell_call", "call_id": "s", "action": {"command": ["ls"]}}
    patch = {"type": "custom_tool_call", "call_id": "p", "name": "apply_patch", "input": "*** Begin"}
    read = await messages(
        server,
        USER,
        *({"type": kind} for kind in passed_over),
        shell,
        {"type": "local_shell_call_output", "call_id": "s", "output": "a.txt"},
        patch,
        {"type": "custom_tool_call_output", "call_id": "p", "output": "done"},
    )
    assert [message.role for message in read] == ["user", "assistant", "tool", "assistant", "tool"]
    assert read[1].tool_calls[0].function.arguments == {"command": ["ls"]}
    assert read[3].tool_calls[0].function.arguments == {"input": "*** Begin"}
    assert read[4].tool_name == "apply_patch"


# ---- tools ---------------------------------------------------------------------------------------------------------


async def test_functions_and_groups(server: Server) -> None:
    """compat-api 240"""
    members = [{"type": "function", "name": "bash"}, {"type": "function", "name": "muse.read_file"}]
    tools = [
        {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True},
        {"type": "namespace", "name": "muse", "tools": members},
    ]
    request, value = await asked(server, tools=tools)
    assert [tool["function"]["name"] for tool in request.tools] == ["f", "muse.bash", "muse.read_file"]
    assert request.tools[0]["function"] == {"name": "f", "description": "d", "parameters": SCHEMA}
    assert value["tools"][0] == tools[0]
    assert [member["name"] for member in value["tools"][1]["tools"]] == ["bash", "muse.read_file"]


async def test_tools_with_free_text_and_tools_of_a_service(server: Server) -> None:
    """compat-api 242-244"""
    custom = {"type": "custom", "name": "patch", "description": "d", "format": {"type": "grammar", "definition": "G"}}
    hosted = [{"type": kind} for kind in ("tool_search", "image_generation", "web_search")]
    request, value = await asked(server, tools=[custom, *hosted])
    (tool,) = request.tools
    assert tool["function"]["parameters"]["required"] == ["input"]
    assert "G" in tool["function"]["description"]
    assert [tool["type"] for tool in value["tools"]] == ["custom", "tool_search", "image_generation", "web_search"]


@pytest.mark.parametrize(
    ("choice", "names", "must_call"),
    [
        ("none", [], False),
        ("required", ["f", "g"], True),
        ({"type": "function", "name": "g"}, ["g"], True),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}, ["f"], False),
        ({"type": "web_search_preview"}, ["f", "g"], False),
    ],
)
async def test_tool_choice(server: Server, choice: Any, names: list[str], must_call: bool) -> None:
    """compat-api 245"""
    tools = [{"type": "function", "name": name} for name in ("f", "g")]
    request, value = await asked(server, tools=tools, tool_choice=choice)
    assert [tool["function"]["name"] for tool in request.tools] == names
    assert (request.must_call, value["tool_choice"]) == (must_call, choice)
