"""FunctionGemma."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.prompts.renderers.chat import Chat
from server.prompts.renderers.gemma_values import braces, call_text, declaration, type_name, written
from server.prompts.renderers.schema import by_key, parameters_of, properties_of
from server.prompts.renderers.texts import texts

BOS = "<bos>"
OPEN, END = "<start_of_turn>", "<end_of_turn>\n"
MARK = "<escape>"


def render(chat: Chat) -> str:
    prompt = BOS
    has_system = chat.opens_with_instruction
    system = chat.messages[0].content.strip() if has_system else ""
    if system or chat.tools:
        prompt += f"{OPEN}developer\n{system}{_declarations(chat, system)}{END}"
    prompt += "".join(_turn(chat, at) for at in range(int(has_system), len(chat.messages)))
    return prompt if chat.role_at(len(chat.messages) - 1) == "tool" else f"{prompt}{OPEN}model\n"


def _declarations(chat: Chat, system: str) -> str:
    if not chat.tools:
        return ""
    fixed = texts("functiongemma")["before_tools"]
    head = "" if fixed in system else ("\n" if system else "") + fixed
    declared = (declaration(function, _properties(function), MARK) for function in chat.functions)
    return head + "".join(f"<start_function_declaration>{one}<end_function_declaration>" for one in declared)


def _properties(function: Mapping[str, Any]) -> str:
    """A description and one type each: the models know no more of a parameter."""
    properties = properties_of(parameters_of(function))
    if not properties:
        return ""
    return braces(f"{name}:{_property(schema)}" for name, schema in by_key(properties).items())


def _property(schema: Any) -> str:
    schema = schema if isinstance(schema, Mapping) else {}
    parts = [f"description:{written(schema.get('description') or '', MARK)}"]
    kinds = schema.get("type")
    kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
    return braces([*parts, f"type:{written(type_name(kind), MARK)}"] if kind else parts)


def _turn(chat: Chat, at: int) -> str:
    """A result belongs to the model's turn, which goes on behind it unless someone else speaks."""
    message = chat.messages[at]
    before, after = chat.role_at(at - 1), chat.role_at(at + 1)
    if message.role == "tool":
        opening = "" if before in ("tool", "assistant") else f"{OPEN}model\n"
        ending = "" if after in ("tool", "assistant", "") else END
        body = f"response:{chat.result_name(at)}{{{MARK}{message.content.strip()}{MARK}}}"
        return f"{opening}<start_function_response>{body}<end_function_response>{ending}"
    content = message.content.strip()
    if message.role != "assistant":
        return f"{OPEN}{message.role}\n{content}{END}"
    opening = "" if before == "tool" else f"{OPEN}model\n"
    calls = "".join(f"<start_function_call>{call_text(call, MARK)}<end_function_call>" for call in message.tool_calls)
    return opening + content + calls + ("" if after == "tool" else END)
