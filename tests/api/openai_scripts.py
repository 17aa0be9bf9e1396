"""Scripts of answers that the tests of the dialects share (compat-api 15, "Scripts"), and what reads their streams."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2

from server.messages.chat import Chunk, GenerationRequest, ToolCall, ToolFunction, Usage
from tests.api.conftest import Script

USAGE = Usage(
    prompt_tokens=9, cached_tokens=5, eval_tokens=3, thinking_tokens=2, prompt_ns=2_000_000, eval_ns=6_000_000
)
STOP = Chunk(done=True, reason="stop", usage=USAGE)
LENGTH = Chunk(done=True, reason="length", usage=USAGE)
HELLO = (Chunk(text="Hel"), Chunk(text="lo"), STOP)
REASON = (Chunk(thinking="A"), Chunk(thinking="B"), Chunk(text="4"), STOP)
WEATHER = ToolCall(function=ToolFunction(name="get_weather", arguments={"city": "Paris"}))
TIME = ToolCall(function=ToolFunction(name="get_time", index=1))
CALL = (Chunk(tool_calls=(WEATHER,)), STOP)
SAYCALL = (Chunk(text="Checking."), Chunk(tool_calls=(WEATHER,)), STOP)
TWOCALLS = (Chunk(tool_calls=(WEATHER,)), Chunk(tool_calls=(TIME,)), STOP)
CUT = (Chunk(text="Hel"), LENGTH)
EMPTY = (STOP,)

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "get_time"}},
]


def script(*chunks: Chunk, error: Exception | None = None) -> Script:
    async def play(_: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        for chunk in chunks:
            yield chunk
        if error is not None:
            raise error

    return play


def frames(answer: httpx2.Response) -> list[Any]:
    """The objects of a stream without event names; the end mark is a string."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text.endswith("\n\n")
    blocks = answer.text[:-2].split("\n\n")
    assert all(block.startswith("data: ") for block in blocks)
    return [block[6:] if block == "data: [DONE]" else json.loads(block[6:]) for block in blocks]


def events(answer: httpx2.Response) -> list[dict[str, Any]]:
    """The objects of a stream whose frames are named after their types."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text[:-2].split("\n\n"):
        name, data = block.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        found.append(value)
    return found
