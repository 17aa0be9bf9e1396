"""Turns between `<|im_start|>` and `<|im_end|>`, as many families have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server.messages.chat import ToolCall
from server.prompts.renderers.chat import Chat
from server.prompts.renderers.json_text import argument
from server.prompts.renderers.schema import arguments

OPEN = "<|im_start|>"
END = "<|im_end|>\n"


def opened(role: str) -> str:
    return f"{OPEN}{role}\n"


def turn(role: str, text: str) -> str:
    return f"{OPEN}{role}\n{text}{END}"


def tagged_call(call: ToolCall, write: Callable[[Any], str] = argument) -> str:
    """`<function=NAME>` with one `<parameter=KEY>` for each argument."""
    given = arguments(call.function.arguments)
    parameters = "".join(f"<parameter={key}>\n{write(value)}\n</parameter>\n" for key, value in given.items())
    return f"<tool_call>\n<function={call.function.name}>\n{parameters}</function>\n</tool_call>"


def result(chat: Chat, at: int, text: str) -> str:
    """The result of a tool; those in a row share a turn of the user."""
    opening = "" if chat.role_at(at - 1) == "tool" else OPEN + "user"
    ending = "" if chat.role_at(at + 1) == "tool" else END
    return f"{opening}\n<tool_response>\n{text}\n</tool_response>{ending}"
