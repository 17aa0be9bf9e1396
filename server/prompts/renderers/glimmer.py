"""Glimmer: every message names its recipient."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from server.messages.chat import Message, Think, ToolCall
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.json_text import argument, spaced
from server.prompts.renderers.schema import arguments
from server.prompts.renderers.texts import texts

BOS = "<|begin_of_text|>"
MORE, END = "<|eom|>", "<|eot|>"  # behind a message within a turn, behind the last one
STRENGTHS: dict[Think, str] = {None: "high", True: "high", False: "none"}
_EFFORT = re.compile(r"(reasoning )(effort)", re.IGNORECASE)


def render(chat: Chat) -> str:
    prompt = BOS
    if not any(map(is_instruction, chat.messages)):
        prompt += _system(chat, _default(), has_tools=True)
    first = next((at for at, message in enumerate(chat.messages) if is_instruction(message)), -1)
    for at, message in enumerate(chat.messages):
        if is_instruction(message):
            prompt += _system(chat, message.content, has_tools=at == first)
        else:
            prompt += _turn(chat, at)
    return prompt + "<|start|>assistant"


def _message(header: str, text: str, end: str = END) -> str:
    return f"<|start|>{header}<|message|>{text}{end}"


def _default() -> str:
    return texts("glimmer")["system"].replace("{date}", datetime.date.today().isoformat())


def _system(chat: Chat, text: str, has_tools: bool) -> str:
    """The instruction, how hard to think unless it says so itself, the tools, and who can be spoken to."""
    text = _EFFORT.sub(lambda match: match[1] + _strength_like(match[2]), text)
    if "reasoning strength" not in text.lower():
        text += f"\n\nReasoning strength: {STRENGTHS.get(chat.think, str(chat.think))}."
    recipients = '"self", "user"'
    if chat.tools and has_tools:
        text += "\n\n" + _tools(chat)
    if chat.tools:
        spaces = ", ".join(f'"{space}.*"' for space in _namespaces(chat))
        recipients = f'"self", {spaces}, "user"'
    return _message("system", f"{text}\n\n# Valid recipients: {recipients}.")


def _strength_like(effort: str) -> str:
    if effort.isupper():
        return "STRENGTH"
    return "Strength" if effort[0].isupper() else "strength"


def _namespaces(chat: Chat) -> list[str]:
    return list(dict.fromkeys(str(function.get("name", "")).partition(".")[0] for function in chat.functions))


def _tools(chat: Chat) -> str:
    spaces = "".join(f"{spaced({'name': space, 'description': ''}, escapes=False)}\n" for space in _namespaces(chat))
    schemas = "\n".join(spaced(_schema(function), escapes=False) for function in chat.functions)
    return f"{texts('glimmer')['before_tools']}{spaces}// Function schemas\n{schemas}{texts('glimmer')['after_tools']}"


def _schema(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": function.get("name", ""), "description": "", **function}


def _turn(chat: Chat, at: int) -> str:
    message = chat.messages[at]
    match message.role:
        case "user":
            return _message("user", message.content)
        case "tool":
            name = chat.asked_name(at) or message.tool_call_id
            return _message(f"tool {name}", f'<tool_output name="{name}">\n{message.content}\n</tool_output>')
        case "assistant":
            return _answer(message)
    return ""


def _answer(message: Message) -> str:
    """Calls take the place of a text."""
    thought = _message("assistant to=self", message.thinking, MORE) if message.thinking else ""
    if message.tool_calls:
        *more, last = message.tool_calls
        return thought + "".join(_call(call, MORE) for call in more) + _call(last, END)
    if thought and not message.content:
        return thought
    return thought + _message("assistant to=user", message.content)


def _call(call: ToolCall, end: str) -> str:
    given = arguments(call.function.arguments)
    parameters = "".join(
        f'<atem:parameter name="{key}">{argument(value, spaces=True, escapes=False)}</atem:parameter>\n'
        for key, value in given.items()
    )
    name = call.function.name
    invoke = f'<atem:invoke name="{name}">\n{parameters}</atem:invoke>'
    return _message(f"assistant to={name}", f"<atem:function_calls>\n{invoke}\n</atem:function_calls>", end)
