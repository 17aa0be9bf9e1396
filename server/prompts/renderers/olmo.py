"""Olmo 3: calls as Python writes them; the thinking models have neither tools nor calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.messages.chat import ToolCall
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.chatml import END, opened, turn
from server.prompts.renderers.json_text import compact, spaced
from server.prompts.renderers.schema import by_key
from server.prompts.renderers.texts import texts


def render_olmo3(chat: Chat) -> str:
    return _render(chat, texts("olmo")["system"])


def render_olmo31(chat: Chat) -> str:
    return _render(chat, texts("olmo")["system_31"])


def render_think(chat: Chat) -> str:
    return _render_think(chat, texts("olmo")["think_system"])


def render_think_32b(chat: Chat) -> str:
    return _render_think(chat, texts("olmo")["think_32b_system"])


def _first_instruction(chat: Chat) -> int:
    """The place of the instruction that comes in front, -1 where there is none."""
    return next((at for at, message in enumerate(chat.messages) if is_instruction(message)), -1)


def _render(chat: Chat, default: str) -> str:
    first = _first_instruction(chat)
    functions = f"<functions>{spaced(chat.declared)}</functions>" if chat.tools else ""
    if first >= 0:
        system = chat.messages[first].content + functions
    elif functions:
        system = default + texts("olmo")["functions"] + functions
    else:
        system = default + texts("olmo")["no_functions"] + "<functions></functions>"
    prompt = turn("system", system)
    prompt += "".join(_turn(chat, at) for at in range(len(chat.messages)) if at != first)
    return prompt if chat.is_begun and not chat.messages[-1].tool_calls else prompt + opened("assistant")


def _turn(chat: Chat, at: int) -> str:
    message = chat.messages[at]
    if is_instruction(message):
        return turn("system", message.content)
    match message.role:
        case "user":
            return turn("user", message.content)
        case "tool":
            return turn("environment", message.content)
        case "assistant":
            calls = "\n".join(map(_call, message.tool_calls))
            text = message.content + (f"<function_calls>{calls}</function_calls>" if calls else "")
            return opened("assistant") + text + ("" if chat.is_last(at) and not calls else END)
    return ""


def _call(call: ToolCall) -> str:
    return f"{call.function.name}({python_arguments(call.function.arguments, ', ')})"


def python_arguments(given: Mapping[str, Any], comma: str, *, spaces: bool = False) -> str:
    """`key=value` in the order of the keys, values as JSON."""
    write = spaced if spaces else compact
    return comma.join(f"{key}={write(value)}" for key, value in by_key(given).items())


def _render_think(chat: Chat, default: str) -> str:
    first = _first_instruction(chat)
    system = default if first < 0 else chat.messages[first].content + texts("olmo")["think_no_functions"]
    prompt = turn("system", system)
    for at, message in enumerate(chat.messages):
        if at != first and is_instruction(message):
            prompt += turn("system", message.content)
        elif message.role in ("user", "assistant"):
            prompt += turn(message.role, message.content)
    return prompt + opened("assistant") + "<think>"
