"""Generate and chat on the wire (native-api 3.5, 6.4, 6.5, 7.4, 7.5; checks 58-70, 71-75, 115-157, 168-194)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest

from server.errors import ContextExceeded, RunnerDied, ServerBusy
from server.messages.chat import (
    Chunk,
    GenerationRequest,
    Message,
    TokenLogprob,
    ToolCall,
    ToolFunction,
    TopLogprob,
    Usage,
)
from tests.api.conftest import Script, Server

pytestmark = pytest.mark.anyio

JSON = "application/json; charset=utf-8"
USAGE = Usage(total_ns=90, load_ns=10, prompt_tokens=3, prompt_ns=20, eval_tokens=2, eval_ns=30)
STATISTICS = {
    "total_duration": 90,
    "load_duration": 10,
    "prompt_eval_count": 3,
    "prompt_eval_duration": 20,
    "eval_count": 2,
    "eval_duration": 30,
}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
GENERATE = {"model": "m", "prompt": "x"}


def script(*chunks: Chunk, error: Exception | None = None) -> Script:
    async def play(_: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        for chunk in chunks:
            yield chunk
        if error is not None:
            raise error

    return play


def lines(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text[:-1].split("\n")]


def timeless(value: dict[str, Any]) -> dict[str, Any]:
    """Without the time, whose form is checked."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", value["created_at"])  # native-api 120
    return {key: item for key, item in value.items() if key != "created_at"}


LAST = Chunk(done=True, reason="stop", usage=USAGE, context=(1, 2))


async def test_generate_streams_one_object_per_line(server: Server) -> None:
    """native-api 115-118"""
    server.inference.script = script(Chunk(text='He"l\u2028'), Chunk(text="lo\n"), LAST)
    answer = await server.post("/api/generate", GENERATE)
    assert answer.headers["content-type"] == "application/x-ndjson"
    first, second, last = lines(answer)
    assert list(first) == ["model", "created_at", "response", "done"]
    assert timeless(first) == {"model": "m", "response": 'He"l\u2028', "done": False}
    assert timeless(second)["response"] == "lo\n"
    assert list(last) == ["model", "created_at", "response", "done", "done_reason", "context", *STATISTICS]
    assert timeless(last) == {
        "model": "m",
        "response": "",
        "done": True,
        "done_reason": "stop",
        "context": [1, 2],
        **STATISTICS,
    }
    assert server.inference.closed == 1


async def test_chat_streams_messages(server: Server) -> None:
    """native-api 168, 169"""
    server.inference.script = script(
        Chunk(thinking="hm"), Chunk(text="Hi"), Chunk(done=True, reason="stop", usage=USAGE)
    )
    thinking, text, last = lines(await server.post("/api/chat", CHAT))
    assert timeless(thinking) == {
        "model": "m",
        "message": {"role": "assistant", "content": "", "thinking": "hm"},
        "done": False,
    }
    assert list(text) == ["model", "created_at", "message", "done"]
    assert text["message"] == {"role": "assistant", "content": "Hi"}
    assert list(last) == ["model", "created_at", "message", "done", "done_reason", *STATISTICS]
    assert last["message"] == {"role": "assistant", "content": ""}


async def test_an_answer_in_one_object(server: Server) -> None:
    """native-api 119, 170, 203"""
    server.inference.script = script(Chunk(thinking="a"), Chunk(thinking="b"), Chunk(text="c"), Chunk(text="d"), LAST)
    answer = await server.post("/api/generate", {**GENERATE, "stream": False})
    assert answer.headers["content-type"] == JSON
    assert timeless(answer.json()) == {
        "model": "m",
        "response": "cd",
        "thinking": "ab",
        "done": True,
        "done_reason": "stop",
        "context": [1, 2],
        **STATISTICS,
    }
    answer = await server.post("/api/chat", {**CHAT, "stream": False})
    assert answer.json()["message"] == {"role": "assistant", "content": "cd", "thinking": "ab"}


@pytest.mark.parametrize("reason", ["load", "unload"])
@pytest.mark.parametrize("stream", [True, False, None])
async def test_load_and_unload_are_one_object(server: Server, reason: Any, stream: bool | None) -> None:
    """native-api 71-75, runtime 59, 60"""
    server.inference.script = script(Chunk(done=True, reason=reason))
    answer = await server.post("/api/generate", {"model": "m", "stream": stream})
    assert answer.headers["content-type"] == JSON
    assert timeless(answer.json()) == {"model": "m", "response": "", "done": True, "done_reason": reason}
    answer = await server.post("/api/chat", {"model": "m", "messages": [], "stream": stream})
    assert timeless(answer.json()) == {
        "model": "m",
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": reason,
    }


async def test_debug_answers_are_one_object(server: Server) -> None:
    """native-api 130, 131, 207"""
    server.inference.script = script(Chunk(rendered="<u>", image_count=2))
    answer = await server.post("/api/generate", {**GENERATE, "_debug_render_only": True})
    assert timeless(answer.json()) == {
        "model": "m",
        "response": "",
        "done": False,
        "_debug_info": {"rendered_template": "<u>", "image_count": 2},
    }
    server.inference.script = script(Chunk(rendered=""))
    answer = await server.post("/api/chat", {**CHAT, "_debug_render_only": True})
    assert timeless(answer.json()) == {
        "model": "m",
        "message": {"role": "", "content": ""},
        "done": False,
        "_debug_info": {"rendered_template": ""},
    }
    assert server.inference.asked[0].debug_render_only


async def test_logprobs(server: Server) -> None:
    """native-api 151, 152, 154"""
    top = (TopLogprob("a", -0.5, (97,)), TopLogprob("", -22.0))
    entry = TokenLogprob("a", -0.5, (97,), top)
    chunks = (Chunk(text="a", logprobs=(entry,)), Chunk(logprobs=(TokenLogprob("b", 0.0, (98,)),)), LAST)
    expected = [
        {
            "token": "a",
            "logprob": -0.5,
            "bytes": [97],
            "top_logprobs": [{"token": "a", "logprob": -0.5, "bytes": [97]}, {"token": "", "logprob": -22.0}],
        },
        {"token": "b", "logprob": 0.0, "bytes": [98]},
    ]
    server.inference.script = script(*chunks)
    first, second, last = lines(await server.post("/api/generate", {**GENERATE, "logprobs": True, "top_logprobs": 2}))
    assert first["logprobs"] + second["logprobs"] == expected
    assert second["response"] == ""
    assert "logprobs" not in last
    answer = await server.post("/api/chat", {**CHAT, "logprobs": True, "stream": False})
    assert answer.json()["logprobs"] == expected
    assert server.inference.asked[0].top_logprobs == 2


async def test_tool_calls(server: Server) -> None:
    """native-api 191-196"""
    call = ToolCall(id="call_abcdefgh", function=ToolFunction(name="f", arguments={"z": 1, "a": {}}))
    other = ToolCall(function=ToolFunction(name="g", index=1))
    server.inference.script = script(Chunk(tool_calls=(call,)), Chunk(tool_calls=(other,)), LAST)
    first, second, _ = lines(await server.post("/api/chat", CHAT))
    assert list(first["message"]) == ["role", "content", "tool_calls"]
    assert first["message"]["tool_calls"] == [
        {"id": "call_abcdefgh", "function": {"index": 0, "name": "f", "arguments": {"z": 1, "a": {}}}}
    ]
    assert list(first["message"]["tool_calls"][0]["function"]["arguments"]) == ["z", "a"]
    assert second["message"]["tool_calls"] == [{"function": {"index": 1, "name": "g", "arguments": {}}}]
    answer = await server.post("/api/chat", {**CHAT, "stream": False})
    assert len(answer.json()["message"]["tool_calls"]) == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_options_that_nobody_knows_are_named(server: Server, stream: bool) -> None:
    """runtime 70, native-api 98"""
    body = {**GENERATE, "stream": stream, "options": {"temprature": 1, "a\r\nb": 2, "top_k": 3}}
    answer = await server.post("/api/generate", body)
    assert (answer.status_code, answer.headers["x-puna-ignored-options"]) == (200, "temprature, a%0D%0Ab")
    answer = await server.post("/api/generate", {**GENERATE, "options": {"top_k": 3}})
    assert "x-puna-ignored-options" not in answer.headers


async def test_calls_of_generate_are_in_the_last_object(server: Server) -> None:
    call = ToolCall(id="call_abcdefgh", function=ToolFunction(name="f", arguments={"z": 1}))
    server.inference.script = script(Chunk(text="a"), Chunk(tool_calls=(call,)), LAST)
    text, empty, last = lines(await server.post("/api/generate", GENERATE))
    assert [timeless(text)["response"], timeless(empty)["response"]] == ["a", ""]
    assert "tool_calls" not in empty
    assert last["tool_calls"] == [{"function": {"index": 0, "name": "f", "arguments": {"z": 1}}}]
    whole = (await server.post("/api/generate", {**GENERATE, "stream": False})).json()
    assert whole["tool_calls"] == last["tool_calls"]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_early_failure_keeps_its_status(server: Server, stream: bool) -> None:
    """native-api 158, 160"""
    server.inference.script = script(error=ContextExceeded())
    answer = await server.post("/api/chat", {**CHAT, "stream": stream})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == JSON
    assert "longer than the context length" in answer.json()["error"]
    assert server.inference.closed == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_full_queue_says_when_to_come_back(server: Server, stream: bool) -> None:
    """native-api 95, runtime 41"""
    server.inference.script = script(error=ServerBusy())
    answer = await server.post("/api/chat", {**CHAT, "stream": stream})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"error": "server busy, please try again.  maximum pending requests exceeded"}


async def test_a_late_failure_is_the_last_line(server: Server) -> None:
    """native-api 157, 208, runtime 93"""
    server.inference.script = script(Chunk(text="a"), error=RunnerDied("gone"))
    answer = await server.post("/api/generate", GENERATE)
    assert answer.status_code == 200
    assert [timeless(line) for line in lines(answer)[:1]] == [{"model": "m", "response": "a", "done": False}]
    assert lines(answer)[1:] == [{"error": "gone"}]
    answer = await server.post("/api/generate", {**GENERATE, "stream": False})
    assert (answer.status_code, answer.json()) == (500, {"error": "gone"})  # native-api 158


@pytest.mark.parametrize("stream", [True, False])
async def test_an_unexpected_failure_tells_no_secrets(server: Server, stream: bool) -> None:
    server.inference.script = script(error=RuntimeError("/home/user/secret"))
    answer = await server.post("/api/generate", {**GENERATE, "stream": stream})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    server.inference.script = script(Chunk(text="a"), error=RuntimeError("/home/user/secret"))
    answer = await server.post("/api/generate", GENERATE)
    assert list(lines(answer)[1]) == ["error"]
    assert "secret" not in answer.text


@pytest.mark.parametrize("name", ["M:latest", "m:local", " m ", "https://registry.ollama.ai/library/m"])
async def test_the_name_is_given_back_as_sent(server: Server, name: str) -> None:
    """native-api 65-68"""
    first, *_ = lines(await server.post("/api/generate", {**GENERATE, "model": name}))
    assert first["model"] == name


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/generate", {}, 404, "model '' not found"),  # native-api 58
        ("/api/generate", {"model": " "}, 404, "model ' ' not found"),
        ("/api/chat", {}, 400, "model is required"),  # native-api 59
        ("/api/embeddings", {}, 400, "model is required"),
        ("/api/embed", {}, 404, "model '' not found"),  # native-api 60
        ("/api/embed", {"model": "nosuch"}, 404, 'model "nosuch" not found, try pulling it first'),  # native-api 63
        ("/api/embeddings", {"model": "nosuch"}, 404, 'model "nosuch" not found, try pulling it first'),
        ("/api/embed", {"model": "nosuch", "input": 5}, 400, "invalid input type"),  # native-api 220
        ("/api/embed", {"model": "nosuch", "input": ["a", None]}, 400, "invalid input type"),
        ("/api/embed", {"model": "nosuch", "input": {}}, 400, "invalid input type"),
        ("/api/embed", {"model": "m:cloud", "input": 5}, 403, "ollama cloud is disabled: remote model is unavailable"),
        ("/api/generate", {"model": "a b"}, 400, "invalid model name"),  # native-api 61
        ("/api/chat", {"model": "m:local:cloud"}, 400, 'use either :local or :cloud, not both: "m:local:cloud"'),  # 69
        ("/api/chat", {"model": "m:t-cloud"}, 403, "ollama cloud is disabled: remote model is unavailable"),  # 70
        ("/api/generate", {"model": "nosuch", "top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),  # 149
        ("/api/chat", {"top_logprobs": -1}, 400, "top_logprobs must be between 0 and 20"),
    ],
)
async def test_refusals(server: Server, path: str, body: dict[str, Any], status: int, error: str) -> None:
    answer = await server.post(path, body)
    assert (answer.status_code, answer.json()) == (status, {"error": error})
    assert answer.headers["content-type"] == JSON


async def test_everything_reaches_the_inference(server: Server) -> None:
    body = {
        "model": "m",
        "prompt": "p",
        "suffix": "s",
        "system": "y",
        "template": "t",
        "context": [1, 2],
        "raw": True,
        "images": ["aGk="],
        "options": {"seed": 9223372036854775807, "temperature": 1.0},
        "keep_alive": "10m",
        "think": "low",
        "truncate": False,
        "shift": False,
        "logprobs": True,
        "top_logprobs": 3,
    }
    raw = json.dumps(body)[:-1] + ', "format": {"b": 1.0,  "a": 2}}'
    await server.client.post("/api/generate", content=raw)
    assert server.inference.asked == [
        GenerationRequest(
            model="m",
            is_chat=False,
            prompt="p",
            suffix="s",
            system="y",
            template="t",
            context=(1, 2),
            raw=True,
            images=(b"hi",),
            options={"seed": 9223372036854775807, "temperature": 1.0},
            keep_alive_seconds=600.0,
            think="low",
            truncate=False,
            shift=False,
            logprobs=True,
            top_logprobs=3,
            format='{"b": 1.0,  "a": 2}',
        )
    ]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("null", ""), ('""', ""), ('"json"', '"json"'), ("[1]", "[1]"), ("true", "true"), ("false", "false")],
)
async def test_format_is_kept_as_it_was_sent(server: Server, sent: str, kept: str) -> None:
    """native-api 145-148"""
    await server.client.post("/api/chat", content=f'{{"model":"m","messages":[{{}}],"format":{sent}}} trailing')
    await server.client.post("/api/chat", content=f'{{"model":"m","messages":[{{}}],"format":{sent}}}')
    assert [asked.format for asked in server.inference.asked] == [kept, kept]
    assert server.inference.asked[0].messages == (Message(),)
