"""GLM-4.7 and GLM-OCR, which has line breaks where the other has none."""

from __future__ import annotations

from server.messages.chat import Message, ToolCall
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.json_text import argument, spaced
from server.prompts.renderers.schema import arguments
from server.prompts.renderers.texts import texts

FRONT = "[gMASK]<sop>"
NO_THINK = "/nothink"


def _tools(chat: Chat) -> str:
    if not chat.tools:
        return ""
    lines = "".join(f"{spaced(tool)}\n" for tool in chat.declared)
    return f"<|system|>\n{texts('glm')['before_tools']}{lines}{texts('glm')['after_tools']}"


def argument_pairs(call: ToolCall, line: str = "", *, spaces: bool = False) -> str:
    """`<arg_key>` and `<arg_value>` of each argument, with `line` behind every tag pair. `spaces`: in JSON."""
    given = arguments(call.function.arguments)
    return "".join(
        f"<arg_key>{key}</arg_key>{line}<arg_value>{argument(value, spaces=spaces)}</arg_value>{line}"
        for key, value in given.items()
    )


def _call(call: ToolCall) -> str:
    return f"<tool_call>{call.function.name}{argument_pairs(call)}</tool_call>"


# ---- GLM-4.7 -------------------------------------------------------------------------------------------------------


def render(chat: Chat) -> str:
    turns = "".join(_turn(chat, at) for at in range(len(chat.messages)))
    return f"{FRONT}{_tools(chat)}{turns}<|assistant|>{'<think>' if chat.thinks(True) else '</think>'}"


def _turn(chat: Chat, at: int) -> str:
    message = chat.messages[at]
    if is_instruction(message):
        return f"<|system|>{message.content}"
    match message.role:
        case "user":
            return f"<|user|>{message.content}"
        case "tool":
            opening = "" if chat.role_at(at - 1) == "tool" else "<|observation|>"
            return f"{opening}<tool_response>{message.content}</tool_response>"
        case "assistant":
            thought = f"<think>{message.thinking}</think>" if message.thinking else "</think>"
            return f"<|assistant|>{thought}{message.content}{''.join(map(_call, message.tool_calls))}"
    return ""


# ---- GLM-OCR -------------------------------------------------------------------------------------------------------


def render_ocr(chat: Chat) -> str:
    """Without thinking every question says so."""
    is_silent = chat.think is False
    turns = "".join(_ocr_turn(chat, at, is_silent) for at in range(len(chat.messages)))
    return f"{FRONT}{_tools(chat)}{turns}<|assistant|>\n{'<think></think>' + chr(10) if is_silent else ''}"


def _ocr_turn(chat: Chat, at: int, is_silent: bool) -> str:
    message = chat.messages[at]
    if is_instruction(message):
        return f"<|system|>\n{message.content}\n"
    match message.role:
        case "user":
            is_said = message.content.endswith(NO_THINK)
            return f"<|user|>\n{message.content}{NO_THINK if is_silent and not is_said else ''}"
        case "tool":
            opening = "\n" if chat.role_at(at - 1) == "tool" else "<|observation|>\n"
            return f"{opening}<tool_response>\n{message.content}\n</tool_response>\n"
        case "assistant":
            return _ocr_answer(message)
    return ""


def _ocr_answer(message: Message) -> str:
    content = message.content.strip()
    lines = [f"<think>{message.thinking.strip()}</think>", *([content] if content else [])]
    return "<|assistant|>\n" + "".join(f"{line}\n" for line in (*lines, *map(_call, message.tool_calls)))
