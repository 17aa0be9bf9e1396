"""Qwen3.5, Qwen3.8 and Ornith: tools as JSON, calls as tagged parameters, thoughts in front of answers."""

from __future__ import annotations

import msgspec

from server.errors import InvalidRequest
from server.messages.chat import Message
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.chatml import END, opened, result, tagged_call, turn
from server.prompts.renderers.json_text import spaced
from server.prompts.renderers.qwen_coder import TOOLS_HEAD
from server.prompts.renderers.texts import texts

THINK = "<think>\n"
NO_THOUGHT = "<think>\n\n</think>\n\n"


class Style(msgspec.Struct, frozen=True):
    """`keeps_thoughts`: of all rounds, not only of the running one. `reads_tags`: finds thoughts in contents too.
    `gathers`: all instructions are in the first turn, and there may be turns of any role."""

    keeps_thoughts: bool
    reads_tags: bool
    gathers: bool = False


QWEN35 = Style(keeps_thoughts=False, reads_tags=True)
QWEN38 = Style(keeps_thoughts=True, reads_tags=False, gathers=True)
ORNITH = Style(keeps_thoughts=True, reads_tags=True)


def render_qwen35(chat: Chat) -> str:
    return _system(chat, [], chat.messages[:1]) + _conversation(chat, QWEN35)


def render_ornith(chat: Chat) -> str:
    return _system(chat, [], chat.messages[:1]) + _conversation(chat, ORNITH)


def render_qwen38(chat: Chat) -> str:
    """Raises InvalidRequest where there is no question, or a picture in an instruction."""
    if not chat.messages:
        raise InvalidRequest("no messages provided")
    if chat.last_question == len(chat.messages):
        raise InvalidRequest("no user query found in messages")
    instructions = tuple(message for message in chat.messages if is_instruction(message) and message.content.strip())
    if any(message.images for message in chat.messages if is_instruction(message)):
        raise InvalidRequest("system message cannot contain images")
    return _system(chat, _effort(chat), instructions) + _conversation(chat, QWEN38)


def _effort(chat: Chat) -> list[str]:
    names = {None: "high_effort", "high": "high_effort", "max": "high_effort", "low": "low_effort"}
    return [texts("qwen")[names[chat.think]]] if chat.think in names else []


def _system(chat: Chat, effort: list[str], candidates: tuple[Message, ...]) -> str:
    """The first turn: what is said of the effort, the tools, the instructions."""
    instructions = [message.content.strip() for message in candidates if is_instruction(message)]
    parts = list(effort)
    if chat.tools:
        tools = "".join(f"\n{spaced(tool)}" for tool in chat.declared)
        parts.append(f"{TOOLS_HEAD}{tools}\n</tools>{texts('qwen')['after_tools']}")
    elif instructions and not any(instructions):
        return turn("system", "")
    parts += filter(None, instructions)
    return turn("system", "\n\n".join(parts)) if parts else ""


def _conversation(chat: Chat, style: Style) -> str:
    is_thinking = chat.thinks(True)
    turns = [
        _turn(chat, at, style, is_thinking)
        for at, message in enumerate(chat.messages)
        if not (is_instruction(message) and (style.gathers or at == 0))
    ]
    if not chat.is_begun:
        turns.append(opened("assistant") + (THINK if is_thinking else NO_THOUGHT))
    return "".join(turns)


def _turn(chat: Chat, at: int, style: Style, is_thinking: bool) -> str:
    message = chat.messages[at]
    content = message.content.strip()
    if is_instruction(message):
        return turn("system", content)
    match message.role:
        case "tool":
            return result(chat, at, content)
        case "assistant":
            keeps_thought = style.keeps_thoughts or (is_thinking and at > chat.last_question)
            return _answer(message, chat.is_last(at), keeps_thought, style.reads_tags)
        case "user":
            return turn("user", content)
    return turn(message.role, content) if style.gathers else ""


def _answer(message: Message, is_last: bool, keeps_thought: bool, reads_tags: bool) -> str:
    thought, content = message.thinking.strip(), message.content.strip()
    if reads_tags and "</think>" in content:
        before, _, content = content.partition("</think>")
        thought, content = thought or before.rpartition("<think>")[2].strip(), content.strip()
    text = f"{THINK}{thought}\n</think>\n\n{content}" if keeps_thought else content
    calls = "\n".join(map(tagged_call, message.tool_calls))
    between = "\n\n" if calls and message.content.strip() else ""
    return opened("assistant") + text + between + calls + ("" if is_last else END)
