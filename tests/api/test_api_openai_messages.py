"""Messages of `/v1/chat/completions` (compat-api 97-122)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from server.messages.chat import IMAGE_HERE, Message
from tests.api.conftest import Server

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n-"
ENCODED = base64.b64encode(PNG).decode()
URL = f"data:image/png;base64,{ENCODED}"
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


async def read(server: Server, *messages: dict[str, Any]) -> tuple[Message, ...]:
    answer = await server.post("/v1/chat/completions", {"model": "m", "messages": messages})
    assert answer.status_code == 200, answer.text
    return server.inference.asked[-1].messages


async def refusal(server: Server, message: dict[str, Any]) -> str:
    answer = await server.post("/v1/chat/completions", {"model": "m", "messages": [message]})
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def text(value: Any) -> dict[str, Any]:
    return {"type": "text", "text": value}


def image(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": url}


async def test_roles(server: Server) -> None:
    """compat-api 97, 99, 100"""
    said = [{"role": role, "content": "x"} for role in ("USER", "developer", "system", "assistant", "tool", "function")]
    roles = [message.role for message in await read(server, *said)]
    assert roles == ["user", "system", "system", "assistant", "tool", "tool"]
    assert "narrator" in await refusal(server, {"role": "narrator", "content": "x"})  # compat-api 98


async def test_parts_are_one_message(server: Server) -> None:
    """compat-api 101, 102, 112"""
    (message,) = await read(server, user(text("a"), image({"url": URL}), text("b"), image(URL)))
    assert message == Message(role="user", content=f"a\n{IMAGE_HERE}b{IMAGE_HERE}", images=(PNG, PNG))
    (message,) = await read(server, user(image(URL), image(URL), text("a"), text("b")))
    assert message == Message(role="user", content="a\nb", images=(PNG, PNG))  # in front, as of the native API
    (message,) = await read(server, user(text("a" + IMAGE_HERE), image(URL)))
    assert message.content == f"a{IMAGE_HERE}"


async def test_content_that_is_not_there(server: Server) -> None:
    """compat-api 103-105, 108: nothing is added to another message"""
    read_messages = await read(
        server,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": [], "tool_calls": [CALL]},
        {"role": "user", "content": []},
        {"role": "user", "content": "x"},
    )
    assert [len(message.tool_calls) for message in read_messages] == [1, 0, 1, 0]
    for content in (None, 5, {"type": "text"}):
        assert "content" in await refusal(server, {"role": "user", "content": content})


async def test_results_know_their_call(server: Server) -> None:
    """compat-api 106, 107, 111"""
    call, plain, parts, unknown = await read(
        server,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
        {"role": "tool", "tool_call_id": "c1", "content": [text("1"), text("2")]},
        {"role": "tool", "tool_call_id": "zzz", "content": "1"},
    )
    assert call.tool_calls[0].function.arguments == {"a": 1}
    assert (plain.tool_name, plain.tool_call_id, plain.content) == ("f", "c1", "1")
    assert (parts.tool_name, parts.tool_call_id, parts.content) == ("f", "c1", "1\n2")
    assert (unknown.tool_name, unknown.tool_call_id) == ("", "zzz")


@pytest.mark.parametrize("arguments", ["", " ", None, {}])
async def test_a_call_without_arguments(server: Server, arguments: Any) -> None:
    """compat-api 111"""
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    (message,) = await read(server, {"role": "assistant", "tool_calls": [call]})
    assert message.tool_calls[0].function.arguments == {}


@pytest.mark.parametrize("arguments", ["{bad", "[1]", "5"])
async def test_arguments_that_cannot_be_read(server: Server, arguments: str) -> None:
    """compat-api 111"""
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    assert await refusal(server, {"role": "assistant", "tool_calls": [call]}) == "invalid tool call arguments"


async def test_earlier_reasoning(server: Server) -> None:
    """compat-api 109, 110, 357"""
    read_messages = await read(
        server,
        {"role": "assistant", "content": [text("a")], "reasoning": "y"},
        {"role": "assistant", "content": "a", "reasoning": "y", "reasoning_content": "x"},
    )
    assert [message.thinking for message in read_messages] == ["y", "x"]


@pytest.mark.parametrize(
    "url",
    [f"data:image/{kind};base64,{ENCODED}" for kind in ("jpeg", "jpg", "png", "webp", "gif", "bmp")]
    + [f"data:;base64,{ENCODED}", URL.rstrip("="), URL[:40] + "\n" + URL[40:], ENCODED],
)
async def test_pictures(server: Server, url: str) -> None:
    """compat-api 113, 114"""
    (message,) = await read(server, user(image(url)))
    assert message.images == (PNG,)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (image("https://localhost/a.png"),
         "image URLs are not currently supported, please use base64 encoded data instead"),
        (image("data:text/plain;base64,QQ=="), "invalid image input"),
        (image("data:image/png;base64,@@@"), "invalid image input"),
        (image("picture.png"), "invalid image input"),
        (image({}), "invalid message format"),
        (text(1), "invalid message format"),
        ({"text": "x"}, "invalid message format"),
        ({"type": "video", "video": "x"}, "invalid message format"),
        ("SKY", "invalid message format"),
        ({"type": "input_audio", "input_audio": {"format": "wav"}}, "invalid input_audio format: missing data"),
        ({"type": "input_audio", "input_audio": "x"}, "invalid input_audio format"),
        ({"type": "input_audio", "input_audio": {"data": "T2dnUwAAAAA="}},
         "Puna cannot read ogg recordings; send one in wav, mp3 or flac."),
    ],
)  # fmt: skip
async def test_parts_that_cannot_be_read(server: Server, part: Any, sentence: str) -> None:
    """compat-api 115, 116, 119, 120"""
    assert await refusal(server, user(part)) == sentence


async def test_sound_files_and_refusals(server: Server) -> None:
    """compat-api 118, 121, 122"""
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(b"RIFF").decode(), "format": "mp3"}}
    file = {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}}
    heard, said = await read(
        server, user(sound, file), {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    )
    assert (heard.images, heard.content, said.content) == ((b"RIFF",), "hi", "no")
    pdf = {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk="}}
    assert "text" in await refusal(server, user(pdf))
