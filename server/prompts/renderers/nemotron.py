"""Nemotron 3 and 3.5: tools and calls as tagged texts, values as Python writes them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from server.messages.chat import Message
from server.prompts.renderers.chat import Chat
from server.prompts.renderers.chatml import END, OPEN, opened, tagged_call, turn
from server.prompts.renderers.json_text import argument
from server.prompts.renderers.qwen_coder import TOOLS_HEAD, described
from server.prompts.renderers.texts import texts

_TOGGLE = re.compile(r"/(no_)?think\b")
_WORDS = {True: "True", False: "False", None: "None"}
NO_THOUGHT = "<think></think>"


class Style(msgspec.Struct, frozen=True):
    """`obeys_toggles`: /think and /no_think in the texts, which vanish from them. `around`: what stands between a
    thought and its tag, and between the tag and the answer."""

    obeys_toggles: bool
    around: str


NANO_3 = Style(obeys_toggles=True, around="\n")
NANO_35 = Style(obeys_toggles=False, around="")


def render_nano3(chat: Chat) -> str:
    """The last toggle decides."""
    toggles = [found for one in chat.messages if one.role in ("user", "system") for found in _toggles(one.content)]
    is_thinking = toggles[-1] if toggles else chat.thinks(True)
    messages = tuple(_without_toggles(message) for message in chat.messages)
    return _render(msgspec.structs.replace(chat, messages=messages), NANO_3, is_thinking)


def render_nano35(chat: Chat) -> str:
    messages, at = list(chat.messages), chat.last_user
    if chat.think == "medium" and at >= 0:
        content = f"{messages[at].content}\n\n{{reasoning effort: efficient}}"
        messages[at] = msgspec.structs.replace(messages[at], content=content)
    return _render(msgspec.structs.replace(chat, messages=tuple(messages)), NANO_35, chat.thinks(True))


def _toggles(text: str) -> list[bool]:
    return [not match[1] for match in _TOGGLE.finditer(text)]


def _without_toggles(message: Message) -> Message:
    if message.role == "system":
        return msgspec.structs.replace(message, content=_TOGGLE.sub("", message.content))
    if message.role == "user":
        return msgspec.structs.replace(message, content=_TOGGLE.sub("", message.content).strip())
    return message


def _render(chat: Chat, style: Style, is_thinking: bool) -> str:
    has_system = chat.role_at(0) == "system"
    system = chat.messages[0].content if has_system else ""
    if chat.tools:
        tools = "".join(described(function, _keyword) for function in chat.functions)
        system += ("\n\n" if system else "") + f"{TOOLS_HEAD}{tools}\n</tools>{texts('qwen')['after_tools']}"
    prompt = turn("system", system)
    prompt += "".join(_turn(chat, at, style) for at in range(int(has_system), len(chat.messages)))
    return prompt + opened("assistant") + ("<think>\n" if is_thinking else NO_THOUGHT)


def _turn(chat: Chat, at: int, style: Style) -> str:
    message = chat.messages[at]
    if message.role == "tool":
        opening = "" if at == 0 or chat.role_at(at - 1) == "tool" else OPEN + "user\n"
        ending = "" if chat.role_at(at + 1) == "tool" else END
        return f"{opening}<tool_response>\n{message.content}\n</tool_response>\n{ending}"
    if message.role == "assistant":
        return turn("assistant", _answer(message, style, is_old=at < chat.last_user))
    return turn(message.role, message.content)


def _answer(message: Message, style: Style, is_old: bool) -> str:
    """Every answer has a thought, an empty one where there was none or where it is of an earlier round."""
    text = message.content
    if message.thinking:
        text = f"<think>\n{message.thinking}{style.around}</think>{style.around}{text}"
    elif "<think>" not in text and "</think>" not in text:
        text = NO_THOUGHT + text
    if is_old and "<think>" in text and "</think>" in text:
        text = NO_THOUGHT + text.rpartition("</think>")[2]
    calls = "".join(f"{tagged_call(call, _written)}\n" for call in message.tool_calls)
    return text.strip() + ("\n" + calls if calls else "")


def _keyword(key: str, value: Any) -> str:
    if key == "description":
        return str(value).strip()
    if key == "type" and isinstance(value, list):
        return "[" + ", ".join(f"'{name}'" for name in value) + "]"
    return _written(value)


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    return argument(value, spaces=True, escapes=False)
