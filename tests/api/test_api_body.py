"""Decoding of request bodies: Go's type errors, order of errors, and the values with rules of their own."""

from __future__ import annotations

import json

import pytest

from server.api.body import Body, decode
from server.api.requests import (
    ChatRequest,
    CopyRequest,
    CreateRequest,
    DeleteRequest,
    EmbeddingRequest,
    EmbedRequest,
    GenerateRequest,
    PullRequest,
    PushRequest,
    ShowRequest,
)
from server.errors import InvalidRequest
from server.messages.chat import Message, ToolCall, ToolFunction
from server.messages.options import read_options


def refusal(body: object, body_type: type[Body]) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidRequest) as caught:
        decode(raw, body_type)
    assert caught.value.status == 400
    return str(caught.value)


WRONG = "json: cannot unmarshal "
INTO = " into Go struct field "


@pytest.mark.parametrize(
    ("body_type", "body", "words"),
    [
        (ChatRequest, [], "array into Go value of type api.ChatRequest"),  # native-api 20
        (GenerateRequest, "hi", "string into Go value of type api.GenerateRequest"),
        (ChatRequest, {"model": 1}, "number" + INTO + "ChatRequest.model of type string"),  # native-api 22
        (ChatRequest, {"messages": "x"}, "string" + INTO + "ChatRequest.messages of type []api.Message"),  # 23
        (ChatRequest, {"messages": {}}, "object" + INTO + "ChatRequest.messages of type []api.Message"),
        (ChatRequest, {"messages": ["x"]}, "string" + INTO + "ChatRequest.messages of type api.Alias"),
        (
            ChatRequest,
            {"messages": [{"content": [{}]}]},
            "array" + INTO + "ChatRequest.messages.content of type string",
        ),
        (ChatRequest, {"messages": [{"role": 1}]}, "number" + INTO + "ChatRequest.messages.role of type string"),
        (ChatRequest, {"stream": "false"}, "string" + INTO + "ChatRequest.stream of type bool"),  # native-api 25
        (ChatRequest, {"tools": {}}, "object" + INTO + "ChatRequest.tools of type api.Tools"),  # native-api 185
        (ChatRequest, {"tools": ["x"]}, "string" + INTO + "ChatRequest.tools of type api.Tool"),
        (ChatRequest, {"tools": [{"type": 1}]}, "number" + INTO + "Tool.tools.type of type string"),
        (
            ChatRequest,  # native-api 188
            {"tools": [{"function": {"parameters": {"type": ["object"]}}}]},
            "array" + INTO + "ToolFunctionParameters.tools.function.parameters.type of type string",
        ),
        (
            ChatRequest,
            {"tools": [{"function": {"parameters": {"required": "a"}}}]},
            "string" + INTO + "ToolFunctionParameters.tools.function.parameters.required of type []string",
        ),
        (
            ChatRequest,
            {"messages": [{"tool_calls": [{"function": {"index": "x"}}]}]},
            "string" + INTO + "ChatRequest.messages.tool_calls.function.index of type int",
        ),
        (GenerateRequest, {"options": []}, "array" + INTO + "GenerateRequest.options of type map[string]interface {}"),
        (GenerateRequest, {"context": "x"}, "string" + INTO + "GenerateRequest.context of type []int"),
        (GenerateRequest, {"context": [1.5]}, "number 1.5" + INTO + "GenerateRequest.context of type int"),
        (GenerateRequest, b'{"top_logprobs":5.0}', "number 5.0" + INTO + "GenerateRequest.top_logprobs of type int"),
        (GenerateRequest, {"top_logprobs": True}, "bool" + INTO + "GenerateRequest.top_logprobs of type int"),
        (GenerateRequest, {"images": "aGk="}, "string" + INTO + "GenerateRequest.images of type []api.ImageData"),
        (GenerateRequest, {"images": [1]}, "number" + INTO + "GenerateRequest.images of type api.ImageData"),
        (EmbedRequest, {"dimensions": "3"}, "string" + INTO + "EmbedRequest.dimensions of type int"),
        (EmbeddingRequest, {"prompt": 5}, "number" + INTO + "EmbeddingRequest.prompt of type string"),  # native-api 232
        (ShowRequest, {"verbose": "yes"}, "string" + INTO + "ShowRequest.verbose of type bool"),
        (CreateRequest, {"files": []}, "array" + INTO + "CreateRequest.files of type map[string]string"),
        (CreateRequest, {"from": 1}, "number" + INTO + "CreateRequest.from of type string"),
        (CopyRequest, {"source": []}, "array" + INTO + "CopyRequest.source of type string"),
        (DeleteRequest, {"model": {}}, "object" + INTO + "DeleteRequest.model of type string"),
        (PullRequest, {"insecure": "yes"}, "string" + INTO + "PullRequest.insecure of type bool"),
        (PushRequest, {"model": []}, "array" + INTO + "PushRequest.model of type string"),
    ],
)
def test_type_errors(body_type: type[Body], body: object, words: str) -> None:
    """native-api 20-26, 150, 185, 188, 232"""
    assert refusal(body, body_type) == WRONG + words


def test_out_of_range_integers_are_type_errors() -> None:
    text = refusal(b'{"top_logprobs":99999999999999999999}', GenerateRequest)
    assert text == WRONG + "number 99999999999999999999" + INTO + "GenerateRequest.top_logprobs of type int"


def test_the_first_type_error_is_told() -> None:
    assert refusal({"prompt": 1, "model": []}, GenerateRequest).endswith("GenerateRequest.prompt of type string")
    assert refusal({"images": ["!!!"], "model": []}, GenerateRequest) == "illegal base64 data at input byte 0"
    assert "prompt" in refusal({"prompt": 1, "images": ["!!!"]}, GenerateRequest)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"keep_alive": "abc"}, 'time: invalid duration "abc"'),
        ({"think": 1}, 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
        ({"messages": [{"role": 2}]}, WRONG + "number" + INTO + "ChatRequest.messages.role of type string"),
        ({"tools": [{"function": {"parameters": {"properties": 1}}}]}, None),
        ({"messages": [{"tool_calls": [{"function": {"arguments": "{}"}}]}]}, None),  # native-api 189
    ],
)
def test_values_with_their_own_decoder_win_over_earlier_errors(fields: dict[str, object], sentence: str | None) -> None:
    expected = sentence or "Value looks like object, but can't find closing '}' symbol"
    assert refusal({"model": 1, **fields}, ChatRequest) == expected


def test_names_match_without_case_and_the_last_wins() -> None:
    """native-api 28-30"""
    asked = decode(b'{"MODEL":"a","Prompt":"p","unknown":[1],"model":"b","STREAM":false}', GenerateRequest)
    assert (asked.model, asked.prompt, asked.stream) == ("b", "p", False)
    assert decode(b'{"model":"b","MODEL":"a"}', GenerateRequest).model == "a"


def test_null_is_as_if_absent() -> None:
    """native-api 21, 88"""
    asked = decode(b'{"model":"a","stream":null,"keep_alive":null,"options":null,"think":null}', GenerateRequest)
    assert asked == GenerateRequest(model="a")
    assert decode(b"null", ChatRequest) == ChatRequest()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (600, 600.0),
        (1.5, 1.5),
        (0, 0.0),
        (0.0, 0.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("1h30m", 5400.0),
        (-1, -1.0),
        (-0.5, -1.0),
        ("-1s", -1.0),
        (1e300, -1.0),
    ],
)
def test_keep_alive(value: object, seconds: float) -> None:
    """native-api 78, 80, 82, 83"""
    asked = decode(json.dumps({"keep_alive": value}).encode(), GenerateRequest)
    assert asked.keep_alive == seconds


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("abc", 'time: invalid duration "abc"'),  # native-api 84, runtime 62
        ("", 'time: invalid duration ""'),
        ("10", 'time: missing unit in duration "10"'),  # native-api 85
        ("1d", 'time: unknown unit "d" in duration "1d"'),  # native-api 86
        ("3x", 'time: unknown unit "x" in duration "3x"'),
        (True, "Unsupported type: 'bool'"),  # native-api 87
        ([5], "Unsupported type: '[]interface {}'"),
        ({}, "Unsupported type: 'map[string]interface {}'"),
    ],
)
def test_keep_alive_that_is_none(value: object, sentence: str) -> None:
    assert refusal({"keep_alive": value}, ChatRequest) == sentence


@pytest.mark.parametrize("value", [True, False, "low", "medium", "high", "max"])
def test_think(value: object) -> None:
    assert decode(json.dumps({"think": value}).encode(), ChatRequest).think == value


def test_think_that_is_none() -> None:
    """native-api 139, 140"""
    choices = 'must be "high", "medium", "low", "max", true, or false'
    assert refusal({"think": "xhigh"}, ChatRequest) == f'invalid think value: "xhigh" ({choices})'
    assert refusal({"think": "High"}, ChatRequest) == f'invalid think value: "High" ({choices})'


@pytest.mark.parametrize(
    ("image", "offset"),
    [
        ("!!!", 0),  # native-api 155
        ("data:image/png;base64,aGk=", 4),  # native-api 156
        ("aGk", 0),
        ("aGkx\naG", 5),
        ("aGk-", 3),
        ("aG=", 3),
        ("aG=a", 3),
        ("aGk=x", 4),
        ("=", 0),
    ],
)
def test_images_that_are_not_base64(image: str, offset: int) -> None:
    assert refusal({"images": [image]}, GenerateRequest) == f"illegal base64 data at input byte {offset}"


def test_images() -> None:
    asked = decode(json.dumps({"images": ["aG\r\nk=", ""]}).encode(), GenerateRequest)
    assert list(asked.images) == [b"hi", b""]


def test_messages() -> None:
    """native-api 171-173, 190"""
    body = {
        "messages": [
            None,
            {},
            {"role": "USER", "content": "x", "images": ["aGk="], "extra": 1},
            {
                "role": "assistant",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"b": 1.5}}}],
            },
            {"role": "tool", "tool_name": "f", "tool_call_id": "c1", "content": None},
            {"role": "assistant", "tool_calls": [{"function": {"name": "g", "arguments": None}}]},
        ]
    }
    asked = decode(json.dumps(body).encode(), ChatRequest)
    assert asked.messages == (
        Message(),
        Message(),
        Message(role="user", content="x", images=(b"hi",)),
        Message(
            role="assistant",
            tool_calls=(ToolCall(id="c1", function=ToolFunction(name="f", arguments={"b": 1.5})),),
        ),
        Message(role="tool", tool_name="f", tool_call_id="c1"),
        Message(role="assistant", tool_calls=(ToolCall(function=ToolFunction(name="g")),)),
    )


def test_tools_keep_every_keyword_of_their_schema() -> None:
    """native-api 186, 187; the reference drops what it does not know"""
    properties = {"city": {"type": ["string", "null"], "format": "x", "default": 1.0}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": properties}}}
    asked = decode(json.dumps({"tools": [tool]}).encode(), ChatRequest)
    assert list(asked.tools) == [tool]
    assert type(asked.tools[0]["function"]["parameters"]["properties"]["city"]["default"]) is float


@pytest.mark.parametrize(("seed", "held"), [("1e999", 2**63 - 1), ("-1" + "0" * 30, -(2**63)), ("20.9", 20)])
def test_whole_numbers_of_options_are_held_in_64_bits(seed: str, held: int) -> None:
    """native-api 104, 105: what a runner cannot be told is not an error of the server."""
    asked = decode(b'{"options":{"seed":' + seed.encode() + b"}}", GenerateRequest)
    assert read_options(asked.options).sampling.seed == held


def test_an_empty_list_of_required_members_is_left_out() -> None:
    """As in the reference, so that prompts are equal."""
    body = b'{"tools":[{"function":{"name":"f","parameters":{"type":"object","required":[]}}},{"function":null}]}'
    tools = list(decode(body, ChatRequest).tools)
    assert tools == [{"function": {"name": "f", "parameters": {"type": "object"}}}, {"function": None}]


def test_create_tells_absent_files_from_none() -> None:
    assert decode(b"{}", CreateRequest).files is None
    asked = decode(b'{"files":{},"from":"base","name":"n"}', CreateRequest)
    assert (asked.files, asked.from_, asked.target) == ({}, "base", "n")
