"""Values as the Gemma models know them: `{key:value}`, texts between marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from server.messages.chat import ToolCall
from server.prompts.renderers.json_text import compact
from server.prompts.renderers.schema import by_key, parameters_of


def written(value: Any, mark: str) -> str:
    """`mark` stands before and behind texts. Keys are sorted."""
    if isinstance(value, str):
        return mark + value + mark
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(item, mark)}" for key, item in by_key(value).items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(written(item, mark) for item in value) + "]"
    return compact(value)


def call_text(call: ToolCall, mark: str) -> str:
    return f"call:{call.function.name}{written(call.function.arguments, mark)}"


def declaration(function: Mapping[str, Any], properties: str, mark: str) -> str:
    """`declaration:NAME{…}`; `properties` are written already, "" for none."""
    parameters = parameters_of(function)
    parts = [f"description:{written(function.get('description') or '', mark)}"]
    if parameters.get("type"):
        inner = [f"properties:{properties}"] if properties else []
        inner += [f"required:{written(parameters['required'], mark)}"] if parameters.get("required") else []
        inner.append(f"type:{written(type_name(parameters['type']), mark)}")
        parts.append(f"parameters:{braces(inner)}")
    return f"declaration:{function.get('name', '')}{braces(parts)}"


def type_name(value: Any) -> str:
    """A type in capitals; several as a list in Python's form."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(f"'{str(name).upper()}'" for name in value) + "]"
    return str(value).upper()


def braces(parts: Iterable[str]) -> str:
    return "{" + ",".join(parts) + "}"
