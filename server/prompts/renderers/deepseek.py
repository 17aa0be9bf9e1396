"""DeepSeek V3.1."""

from __future__ import annotations

from server.messages.chat import Message
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.json_text import compact
from server.prompts.renderers.schema import arguments, parameters_of
from server.prompts.renderers.texts import texts

BOS = "<｜begin▁of▁sentence｜>"
USER, ASSISTANT, END = "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"
CALLS = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
OUTPUT = ("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>")


def call_text(kind: str, body: str) -> str:
    return f"<｜tool▁call▁begin｜>{kind}<｜tool▁sep｜>{body}<｜tool▁call▁end｜>"


def render(chat: Chat) -> str:
    """All instructions are in front. An answer that the client has begun stays open."""
    system = "\n\n".join(message.content for message in chat.messages if is_instruction(message) and message.content)
    prompt = BOS + system
    if chat.tools:
        tools = "".join(
            f"\n### {one.get('name', '')}\nDescription: {one.get('description', '')}\n\n"
            f"Parameters: {compact(parameters_of(one))}\n"
            for one in chat.functions
        )
        prompt += f"\n\n## Tools\nYou have access to the following tools:\n{tools}{texts('deepseek')['after_tools']}"
    prompt += "".join(_turn(chat, at) for at in range(len(chat.messages)))
    role = chat.last.role if chat.last else ""
    if role in ("tool", "assistant"):
        return prompt
    return prompt + ASSISTANT + ("<think>" if chat.thinks(False) else "</think>")


def _turn(chat: Chat, at: int) -> str:
    message = chat.messages[at]
    match message.role:
        case "user":
            return USER + message.content
        case "assistant":
            return _answer(chat, at, message)
        case "tool":
            return OUTPUT[0] + message.content + OUTPUT[1]
    return ""


def _answer(chat: Chat, at: int, message: Message) -> str:
    is_begun = chat.is_last(at) and not message.tool_calls
    content = message.content.partition("</think>")[2] if "</think>" in message.content else message.content
    opening = _opening(chat, at, message, is_begun) if chat.role_at(at - 1) == "user" else ""
    calls = "".join(
        call_text(call.function.name, compact(arguments(call.function.arguments))) for call in message.tool_calls
    )
    return opening + content + (CALLS[0] + calls + CALLS[1] if calls else "") + ("" if is_begun else END)


def _opening(chat: Chat, at: int, message: Message, is_begun: bool) -> str:
    """What stands between a question and its answer. A begun answer may have a thought of its own."""
    if not is_begun or not chat.thinks(False):
        return ASSISTANT + "</think>"
    if not message.content:
        return f"{ASSISTANT}<think>{message.thinking}"
    return f"{ASSISTANT}<think>{message.thinking}</think>" if message.thinking else ASSISTANT + "</think>"
