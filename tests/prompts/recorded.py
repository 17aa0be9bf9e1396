"""The prompts that the reference's own renderers make of chats."""

from __future__ import annotations

import base64
import datetime
import gzip
import json
import pathlib
from typing import Any

from server.errors import InvalidRequest
from server.messages.chat import Message, Think, ToolCall, ToolFunction
from server.prompts.renderers import render

DATA: dict[str, Any] = json.loads(
    gzip.decompress((pathlib.Path(__file__).parent / "data" / "renderers.json.gz").read_bytes())
)
CASES: list[dict[str, Any]] = DATA["cases"]


def message(given: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall(
            id=call.get("id", ""),
            function=ToolFunction(name=call["function"]["name"], arguments=call["function"].get("arguments", {})),
        )
        for call in given.get("tool_calls", ())
    )
    return Message(
        role=given["role"],
        content=given.get("content", ""),
        thinking=given.get("thinking", ""),
        images=tuple(map(base64.b64decode, given.get("images", ()))),
        tool_calls=calls,
        tool_name=given.get("tool_name", ""),
        tool_call_id=given.get("tool_call_id", ""),
    )


def messages(chat: str) -> list[Message]:
    return [message(given) for given in DATA["chats"][chat]["messages"]]


def tools(chat: str) -> list[dict[str, Any]] | None:
    found: list[dict[str, Any]] | None = DATA["toolsets"].get(DATA["chats"][chat].get("tools"))
    return found


def rendered(renderer: str, chat: str, think: Think = None) -> str:
    """The prompt, or the words of the refusal."""
    try:
        return render(renderer, messages(chat), tools(chat), think)
    except InvalidRequest as error:
        return f"error: {error}"


def expected(case: dict[str, Any]) -> str:
    if "error" in case:
        return f"error: {case['error']}"
    head: str = DATA["heads"][case["head"]] if "head" in case else ""
    prompt: str = case["prompt"]
    return (head + prompt).replace("{date}", datetime.date.today().isoformat())
