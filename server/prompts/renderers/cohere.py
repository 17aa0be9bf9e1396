"""Cohere's Command models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.messages.chat import Message
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.json_text import spaced
from server.prompts.renderers.schema import arguments, parameters_of

TURN, END = "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"
SYSTEM, USER, CHATBOT = "<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"
TEXT = ("<|START_TEXT|>", "<|END_TEXT|>")
THOUGHT = ("<|START_THINKING|>", "<|END_THINKING|>")
INDENT = "\n            \n                "  # what the vendor's template leaves in front of calls


def render(chat: Chat) -> str:
    """The engine writes the BOS."""
    system = chat.messages[0].content if chat.opens_with_instruction else ""
    front = f"{system}\n\n\n\n" if system else ""
    prompt = _turn(SYSTEM, f"{front}# Available Tools\n```json\n[{_tools(chat)}]\n```")
    numbers = _call_numbers(chat)
    start = int(chat.opens_with_instruction)
    prompt += "".join(_written(chat, at, numbers) for at in range(start, len(chat.messages)))
    if chat.is_begun and not chat.messages[-1].tool_calls:
        return prompt
    return prompt + TURN + CHATBOT + THOUGHT[0] + ("" if chat.thinks(True) else THOUGHT[1])


def _turn(role: str, text: str) -> str:
    return f"{TURN}{role}{TEXT[0]}{text}{TEXT[1]}{END}"


def _tools(chat: Chat) -> str:
    if not chat.tools:
        return "\n\n\n\n"
    return "\n\n" + ",\n\n\n".join(f"    {spaced(_tool(function))}" for function in chat.functions) + "\n\n\n"


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    known = {
        "name": function.get("name", ""),
        "description": function.get("description", ""),
        "parameters": parameters_of(function),
        "responses": None,
    }
    return known | {key: value for key, value in function.items() if key not in known}


def _call_numbers(chat: Chat) -> dict[int, int]:
    """The numbers of a message's first call, by the message's place: they count over the whole chat."""
    numbers: dict[int, int] = {}
    count = 0
    for at, message in enumerate(chat.messages):
        numbers[at] = count
        count += len(message.tool_calls)
    return numbers


def _written(chat: Chat, at: int, numbers: Mapping[int, int]) -> str:
    message = chat.messages[at]
    if is_instruction(message):
        return _turn(SYSTEM, message.content)
    match message.role:
        case "user":
            return _turn(USER, message.content)
        case "tool":
            return _result(chat, at, numbers)
        case "assistant":
            return _answer(message, numbers[at], is_last=chat.is_last(at))
    return ""


def _answer(message: Message, first: int, *, is_last: bool) -> str:
    """Calls take the place of a text, as the vendor's template has it."""
    thought = THOUGHT[0] + message.thinking + THOUGHT[1] if message.thinking else ""
    if not message.tool_calls:
        ending = "" if is_last else TEXT[1] + END
        return f"{TURN}{CHATBOT}{thought}{TEXT[0]}{message.content}{ending}"
    calls = ",\n\n".join(
        "    " + spaced({
            "tool_call_id": str(number),
            "tool_name": call.function.name,
            "parameters": arguments(call.function.arguments),
        })
        for number, call in enumerate(message.tool_calls, first)
    )  # fmt: skip
    return f"{TURN}{CHATBOT}{INDENT}{thought}<|START_ACTION|>[\n\n{calls}\n\n]<|END_ACTION|>{END}"


def _result(chat: Chat, at: int, numbers: Mapping[int, int]) -> str:
    known = {
        call.id: str(number)
        for place, message in enumerate(chat.messages[:at])
        for number, call in enumerate(message.tool_calls, numbers[place])
        if call.id
    }
    asked = chat.messages[at].tool_call_id
    opening = "," if chat.role_at(at - 1) == "tool" else f"{TURN}{SYSTEM}<|START_TOOL_RESULT|>["
    ending = "" if chat.role_at(at + 1) == "tool" else f"\n\n]<|END_TOOL_RESULT|>{END}"
    return (
        f'{opening}\n    {{\n        "tool_call_id": {spaced(known.get(asked, asked))},\n        "results": {{\n\n'
        f'            \n            "0": {spaced({"content": chat.messages[at].content})}\n\n        }},\n'
        f'        "is_error": null\n    }}{ending}'
    )
