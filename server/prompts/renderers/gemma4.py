"""Gemma 4: results of tools within the model's turn, thoughts in a channel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from server.messages.chat import Message
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.gemma_values import braces, call_text, declaration, type_name, written
from server.prompts.renderers.schema import by_key, parameters_of, properties_of

BOS = "<bos>"
OPEN, END = "<|turn>", "<turn|>\n"
MODEL = f"{OPEN}model\n"
MARK = '<|"|>'
THOUGHT = ("<|channel>thought\n", "<channel|>")
_CHANNEL = re.compile(r"<\|channel>.*?<channel\|>", re.DOTALL)


def render_small(chat: Chat) -> str:
    return _render(chat, is_large=False)


def render_large(chat: Chat) -> str:
    return _render(chat, is_large=True)


def _render(chat: Chat, is_large: bool) -> str:
    is_thinking = chat.thinks(False)
    prompt = BOS + _system(chat, is_thinking)
    start = int(chat.opens_with_instruction)
    prompt += "".join(_turn(chat, at) for at in range(start, len(chat.messages)))
    return prompt + _generation(chat, is_thinking, is_large)


def _system(chat: Chat, is_thinking: bool) -> str:
    if not (chat.opens_with_instruction or chat.tools or is_thinking):
        return ""
    text = chat.messages[0].content.strip() if chat.opens_with_instruction else ""
    declared = (declaration(function, _properties_of(function), MARK) for function in chat.functions)
    tools = "".join(f"<|tool>{one}<tool|>" for one in declared)
    return f"{OPEN}system\n{'<|think|>' + chr(10) if is_thinking else ''}{text}{tools}{END}"


def _generation(chat: Chat, is_thinking: bool, is_large: bool) -> str:
    """Behind results the model's turn goes on, and behind calls it waits for them."""
    last = chat.last
    if last is not None and last.role == "tool":
        is_closed = bool(_asking(chat, len(chat.messages) - 1).content)
        return (MODEL if is_closed else "") + THOUGHT[0] if is_thinking else ""
    if last is not None and last.role == "assistant" and last.tool_calls:
        return ""
    return MODEL + ("".join(THOUGHT) if is_large and not is_thinking else "")


def _asking(chat: Chat, at: int) -> Message:
    """The message whose calls a result belongs to; one without content where there is none."""
    while chat.role_at(at) == "tool":
        at -= 1
    return chat.messages[at] if chat.role_at(at) == "assistant" else Message()


def _turn(chat: Chat, at: int) -> str:
    message = chat.messages[at]
    if message.role == "assistant":
        return _answer(chat, at)
    if message.role != "tool":
        role = "system" if is_instruction(message) else message.role
        return f"{OPEN}{role}\n{message.content.strip()}{END}"
    if _asking(chat, at).tool_calls:
        return ""  # written behind its call
    opening = "" if chat.role_at(at - 1) in ("tool", "assistant") else MODEL
    ending = "" if chat.role_at(at + 1) in ("tool", "assistant", "") else END
    return opening + _response(chat, at) + ending


def _answer(chat: Chat, at: int) -> str:
    """A thought, calls, their results, the text. Neighbours share a turn, and so do those with only results between."""
    message = chat.messages[at]
    before, end = at - 1, at + 1
    while chat.role_at(before) == "tool":
        before -= 1
    text = "" if chat.role_at(before) == "assistant" or (before < at - 1 and before < 0) else MODEL
    if message.thinking and at > chat.last_user:
        text += f"{THOUGHT[0]}{message.thinking.strip()}\n{THOUGHT[1]}"
    text += "".join(f"<|tool_call>{call_text(call, MARK)}<tool_call|>" for call in message.tool_calls)
    while message.tool_calls and chat.role_at(end) == "tool":
        text += _response(chat, end)
        end += 1
    content = _CHANNEL.sub("", message.content).strip()
    return text + content + _ending(message, content, has_results=end > at + 1, next_role=chat.role_at(end))


def _ending(message: Message, content: str, *, has_results: bool, next_role: str) -> str:
    if message.tool_calls and not has_results:
        return "<|tool_response>"
    if next_role in ("assistant", "tool") or (has_results and not content):
        return ""
    return END


def _response(chat: Chat, at: int) -> str:
    value = written(chat.messages[at].content, MARK)
    return f"<|tool_response>response:{chat.result_name(at) or 'unknown'}{{value:{value}}}<tool_response|>"


# ---- declarations --------------------------------------------------------------------------------------------------


def _properties_of(function: Mapping[str, Any]) -> str:
    return _properties(properties_of(parameters_of(function)))


def _properties(properties: Mapping[str, Any]) -> str:
    if not properties:
        return ""
    return braces(f"{name}:{_property(schema)}" for name, schema in by_key(properties).items())


def _property(schema: Any) -> str:
    """What the models know of a parameter; no other keyword has a place there."""
    schema = schema if isinstance(schema, Mapping) else {}
    kind = schema.get("type") or _union(schema.get("anyOf"))
    parts = [f"description:{written(schema['description'], MARK)}"] if schema.get("description") else []
    if kind == "string" and schema.get("enum"):
        parts.append(f"enum:{written(schema['enum'], MARK)}")
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        parts.append(f"items:{_property(schema['items'])}")
    if kind == "object":
        parts += _object(schema)
    return braces([*parts, f"type:{written(type_name(kind), MARK)}"] if kind else parts)


def _object(schema: Mapping[str, Any]) -> list[str]:
    inner = _properties(properties_of(schema))
    parts = [f"properties:{inner}"] if inner else []
    return parts + ([f"required:{written(schema['required'], MARK)}"] if schema.get("required") else [])


def _union(branches: Any) -> list[str]:
    """The types of branches that say nothing but their type."""
    if not isinstance(branches, list) or not all(
        isinstance(one, Mapping) and list(one) == ["type"] for one in branches
    ):
        return []
    return [one["type"] for one in branches]
