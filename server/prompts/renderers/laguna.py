"""Laguna and Poolside's first model, which has no line breaks within a turn."""

from __future__ import annotations

from server.messages.chat import Message, ToolCall
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.glm import argument_pairs
from server.prompts.renderers.json_text import spaced
from server.prompts.renderers.texts import texts

BOS = "〈|EOS|〉"


def _system(chat: Chat) -> str:
    """The model's own instruction where the client has none."""
    return (chat.messages[0].content if chat.opens_with_instruction else texts("laguna")["system"]).rstrip()


def _tools(chat: Chat) -> str:
    return texts("laguna")["before_tools"] + "".join(f"{spaced(tool)}\n" for tool in chat.declared)


# ---- Laguna --------------------------------------------------------------------------------------------------------


def render(chat: Chat) -> str:
    is_thinking = chat.thinks(False)
    parts = [_system(chat)] if _system(chat) else []
    if chat.tools:
        ending = texts("laguna")["after_tools_thinking" if is_thinking else "after_tools"]
        parts.append(_tools(chat) + ending)
    body = "\n\n".join(parts)
    prompt = BOS + (f"<system>\n\n{body}\n</system>\n" if body else "")
    prompt += "".join(_turn(chat, at) for at in range(int(chat.opens_with_instruction), len(chat.messages)))
    if chat.last is not None and chat.is_begun and not _is_empty(chat.last):
        return prompt
    return prompt + "<assistant>\n" + ("<think>" if is_thinking else "</think>")


def _is_empty(message: Message) -> bool:
    return not (message.content.strip() or message.thinking.strip() or message.tool_calls)


def _turn(chat: Chat, at: int) -> str:
    message = chat.messages[at]
    if is_instruction(message):
        return f"<system>\n{message.content}\n</system>\n"
    match message.role:
        case "user":
            return f"<user>\n{message.content}\n</user>\n"
        case "tool":
            return f"<tool_response>\n{message.content}\n</tool_response>\n"
        case "assistant":
            is_begun = chat.is_last(at)
            if is_begun and _is_empty(message):
                return ""
            return f"<assistant>\n{_answer(message)}{'' if is_begun else '</assistant>' + chr(10)}"
    return ""


def _answer(message: Message) -> str:
    thought, content = message.thinking, message.content
    if "</think>" in content:
        before, _, content = content.rpartition("</think>")
        thought = thought or before.rpartition("<think>")[2]
    text = f"<think>\n{thought.strip()}\n</think>\n" if thought.strip() else "</think>\n"
    lines = [content.strip()] if content.strip() else []
    return text + "".join(f"{line}\n" for line in (*lines, *map(_call, message.tool_calls)))


def _call(call: ToolCall) -> str:
    return f"<tool_call>{call.function.name}\n{argument_pairs(call, chr(10), spaces=True)}</tool_call>"


# ---- Poolside ------------------------------------------------------------------------------------------------------


def render_poolside(chat: Chat) -> str:
    is_thinking = chat.thinks(False)
    body = _system(chat)
    if chat.tools:
        body += ("\n\n" if body else "") + _tools(chat) + "</available_tools>"
    prompt = BOS + (f"<system>{body}</system>\n" if body or is_thinking else "")
    start = int(chat.opens_with_instruction)
    prompt += "".join(_poolside_turn(message, is_thinking) for message in chat.messages[start:])
    return prompt + "<assistant>" + ("<think>" if is_thinking else "</think>")


def _poolside_turn(message: Message, is_thinking: bool) -> str:
    if is_instruction(message):
        return f"<system>{message.content}</system>\n"
    match message.role:
        case "user":
            return f"<user>{message.content}</user>\n"
        case "tool":
            return f"<tool_response>{message.content}</tool_response>\n"
        case "assistant":
            thought = f"<think>{message.thinking}</think>" if is_thinking else "</think>"
            calls = "".join(map(_poolside_call, message.tool_calls))
            return f"<assistant>{thought}{message.content}{calls}</assistant>\n"
    return ""


def _poolside_call(call: ToolCall) -> str:
    return f"<tool_call>{call.function.name}{argument_pairs(call, spaces=True)}</tool_call>"
