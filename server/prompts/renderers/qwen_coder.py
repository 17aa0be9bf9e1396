"""Qwen3-Coder, which knows its tools and its calls as tagged texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from server.prompts.renderers.chat import Chat
from server.prompts.renderers.chatml import opened, result, tagged_call, turn
from server.prompts.renderers.json_text import argument
from server.prompts.renderers.schema import by_key, parameters_of, properties_of
from server.prompts.renderers.texts import texts

TOOLS_HEAD = "# Tools\n\nYou have access to the following functions:\n\n<tools>"


def render(chat: Chat) -> str:
    """The first system message stands in front, wherever it was; later ones stay in their places."""
    system = next((at for at, message in enumerate(chat.messages) if message.role == "system"), -1)
    text = chat.messages[system].content if system >= 0 else ""
    prompt = ""
    if chat.tools:
        tools = "".join(described(function, _keyword) for function in chat.functions)
        front = text or texts("qwen")["coder_system"]
        prompt = turn("system", f"{front}\n\n{TOOLS_HEAD}{tools}\n</tools>{texts('qwen')['after_tools']}")
    elif text:
        prompt = turn("system", text)
    prompt += "".join(_turn(chat, at) for at in range(len(chat.messages)) if at != system)
    return prompt if chat.is_begun else prompt + opened("assistant")


def _turn(chat: Chat, at: int) -> str:
    message = chat.messages[at]
    if message.role == "tool":
        return result(chat, at, message.content)
    if message.role == "assistant" and message.tool_calls:
        content = f"{message.content}\n" if message.content else ""
        return turn("assistant", content + "".join(f"\n{tagged_call(call)}" for call in message.tool_calls))
    if message.role == "assistant" and chat.is_last(at):
        return opened("assistant") + message.content
    return turn(message.role, message.content)


def _keyword(key: str, value: Any) -> str:
    return argument(by_key(value))


def described(function: Mapping[str, Any], write: Callable[[str, Any], str]) -> str:
    """A function as tagged lines. `write`: the value of a keyword."""
    lines = ["", "<function>", f"<name>{function.get('name', '')}</name>", *_lines(function, ("description",), write)]
    parameters = parameters_of(function)
    lines.append("<parameters>")
    for name, schema in properties_of(parameters).items():
        lines += ["<parameter>", f"<name>{name}</name>", *_lines(schema, ("type", "description"), write)]
        lines += [*_others(schema, ("type", "description"), write), "</parameter>"]
    lines += [*_others(parameters, ("type", "properties"), write), "</parameters>"]
    lines += [*_others(function, ("name", "description", "parameters"), write), "</function>"]
    return "\n".join(lines)


def _lines(schema: Any, keys: Sequence[str], write: Callable[[str, Any], str]) -> list[str]:
    if not isinstance(schema, Mapping):
        return []
    return [f"<{key}>{write(key, schema[key])}</{key}>" for key in keys if key in schema]


def _others(schema: Any, without: Sequence[str], write: Callable[[str, Any], str]) -> list[str]:
    keys = [key for key in schema if key not in without] if isinstance(schema, Mapping) else []
    return _lines(schema, keys, write)
