"""Cogito v2.1."""

from __future__ import annotations

from server.messages.chat import ToolCall
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.deepseek import ASSISTANT, BOS, CALLS, END, OUTPUT, USER, call_text
from server.prompts.renderers.json_text import compact, indented
from server.prompts.renderers.schema import arguments
from server.prompts.renderers.texts import texts

OUTPUTS = ("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>")


def render(chat: Chat) -> str:
    """All instructions are in front."""
    is_thinking = chat.thinks(False)
    system = "\n\n".join(message.content for message in chat.messages if is_instruction(message) and message.content)
    prompt = BOS + ("Enable deep thinking subroutine.\n\n" if is_thinking else "") + texts("cogito")["system"]
    if system:
        prompt += f"\n\n{system}" + ("\n\n" if is_thinking else "")
    if chat.tools:
        tools = "".join(f"```json\n{indented(tool)}\n```\n" for tool in chat.declared)
        prompt += f"\nYou have the following functions available:\n{tools}"
    prompt += "".join(_turn(chat, at) for at in range(len(chat.messages)))
    if chat.last is None or chat.last.role != "user":
        prompt += ASSISTANT
    return prompt + ("<think>\n" if is_thinking else "")


def _turn(chat: Chat, at: int) -> str:
    message = chat.messages[at]
    match message.role:
        case "user":
            return USER + message.content + ASSISTANT
        case "assistant":
            calls = "\n".join(map(_call, message.tool_calls))
            return message.content + (CALLS[0] + calls + CALLS[1] if calls else "") + END
        case "tool":
            opening = "\n" if chat.role_at(at - 1) == "tool" else OUTPUTS[0]
            ending = "" if chat.role_at(at + 1) == "tool" else OUTPUTS[1]
            return opening + OUTPUT[0] + message.content + OUTPUT[1] + ending
    return ""


def _call(call: ToolCall) -> str:
    given = compact(arguments(call.function.arguments))
    return call_text("function", f"{call.function.name}\n```json\n{given}\n```")
