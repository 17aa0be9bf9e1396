"""Qwen3-VL."""

from __future__ import annotations

from server.messages.chat import ToolCall
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.chatml import END, opened, result, turn
from server.prompts.renderers.json_text import spaced
from server.prompts.renderers.schema import arguments
from server.prompts.renderers.texts import texts

THINK = "<think>\n"


def render_instruct(chat: Chat) -> str:
    return _render(chat, chat.thinks(False))


def render_thinking(chat: Chat) -> str:
    return _render(chat, chat.thinks(True))


def _render(chat: Chat, is_thinking: bool) -> str:
    system = chat.messages[0].content if chat.opens_with_instruction else None
    prompt = ""
    if chat.tools:
        front = "" if system is None else f"{system}\n\n"
        tools = "".join(f"\n{spaced(tool)}" for tool in chat.declared)
        prompt = turn("system", front + texts("qwen")["vl_before_tools"] + tools + texts("qwen")["vl_after_tools"])
    elif system is not None:
        prompt = turn("system", system)
    start = int(chat.opens_with_instruction)
    prompt += "".join(_turn(chat, at, is_thinking) for at in range(start, len(chat.messages)))
    if chat.is_begun:
        return prompt
    return prompt + opened("assistant") + (THINK if is_thinking else "")


def _turn(chat: Chat, at: int, is_thinking: bool) -> str:
    message = chat.messages[at]
    if is_instruction(message):
        return turn("system", message.content)
    match message.role:
        case "tool":
            return result(chat, at, message.content)
        case "user":
            return turn("user", message.content)
        case "assistant":
            return _answer(chat, at, is_thinking)
    return ""


def _answer(chat: Chat, at: int, is_thinking: bool) -> str:
    message = chat.messages[at]
    text = message.content
    if is_thinking and at > chat.last_question and (chat.is_last(at) or message.thinking):
        thought = THINK + message.thinking.strip("\n")
        is_closed = bool(text or message.tool_calls)
        text = f"{thought}\n</think>\n\n{text.lstrip(chr(10))}" if is_closed else thought
    calls = "\n".join(map(_call, message.tool_calls))
    between = "\n" if calls and message.content else ""
    return opened("assistant") + text + between + calls + ("" if chat.is_last(at) else END)


def _call(call: ToolCall) -> str:
    body = {"name": call.function.name, "arguments": arguments(call.function.arguments)}
    return f"<tool_call>\n{spaced(body)}\n</tool_call>"
