"""LFM 2: tools in the first turn, calls as Python writes them in front of the text."""

from __future__ import annotations

from server.prompts.renderers.chat import Chat
from server.prompts.renderers.chatml import END, opened, turn
from server.prompts.renderers.json_text import spaced
from server.prompts.renderers.schema import by_key

BOS = "<|startoftext|>"
RESULT = ("<|tool_response_start|>", "<|tool_response_end|>")


def render(chat: Chat) -> str:
    return _render(chat, has_thoughts=False)


def render_thinking(chat: Chat) -> str:
    return _render(chat, has_thoughts=True)


def _render(chat: Chat, has_thoughts: bool) -> str:
    has_system = chat.role_at(0) == "system"
    system = chat.messages[0].content if has_system else ""
    if chat.tools:
        functions = spaced(chat.functions, escapes=False)
        tools = f"List of tools: <|tool_list_start|>{functions}<|tool_list_end|>"
        system += ("\n" if system else "") + tools
    prompt = BOS + (turn("system", system) if system else "")
    prompt += "".join(_turn(chat, at, has_thoughts) for at in range(int(has_system), len(chat.messages)))
    return prompt if chat.is_begun else prompt + opened("assistant")


def _turn(chat: Chat, at: int, has_thoughts: bool) -> str:
    message = chat.messages[at]
    if message.role == "tool":
        is_wrapped = message.content.startswith(RESULT[0])
        return turn("tool", message.content if is_wrapped else RESULT[0] + message.content + RESULT[1])
    if message.role != "assistant":
        return turn(message.role, message.content)
    return opened("assistant") + _answer(chat, at, has_thoughts) + ("" if chat.is_last(at) else END)


def _answer(chat: Chat, at: int, has_thoughts: bool) -> str:
    """Thoughts of earlier answers are kept only where the model thinks."""
    message, content = chat.messages[at], chat.messages[at].content
    is_newest = all(one.role != "assistant" for one in chat.messages[at + 1 :])
    keeps_thought = is_newest or chat.thinks(False)
    if not keeps_thought and "</think>" in content:
        content = content.rpartition("</think>")[2].strip()
    text = f"<think>{message.thinking}</think>" if has_thoughts and message.thinking and keeps_thought else ""
    if message.tool_calls:
        calls = ",".join(f"{call.function.name}({_arguments(call.function.arguments)})" for call in message.tool_calls)
        text += f"<|tool_call_start|>[{calls}]<|tool_call_end|>" + ("\n" if content else "")
    return text + content


def _arguments(given: dict[str, object]) -> str:
    return ",".join(f"{key}={spaced(value, escapes=False)}" for key, value in by_key(given).items())
