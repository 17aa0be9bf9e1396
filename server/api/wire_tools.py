"""Tools of a request and calls of an answer, as far as the dialects share them."""

from __future__ import annotations

import secrets
import string
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from server.api.responses import encode
from server.api.wire_fields import Fields, RefusedField
from server.messages.chat import ToolCall

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


class Tooling(msgspec.Struct, frozen=True):
    """The tools that a model may call. `only_one`: what it calls beyond the first call is left out of the answer."""

    tools: tuple[dict[str, Any], ...] = ()
    must_call: bool = False
    only_one: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name_of(tool) for tool in self.tools)


def function_tool(name: str, description: str | None, parameters: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """A tool in the form that templates know. Members keep their order, the schema all of its keywords.

    Only an empty `required` is left out, as the native API does: models were tried with prompts that lack it.
    """
    function: dict[str, Any] = {"name": name}
    if description is not None:
        function["description"] = description
    if parameters is not None:
        function["parameters"] = without_empty_required(parameters)
    return {"type": "function", "function": function | more}


def without_empty_required(parameters: dict[str, Any]) -> dict[str, Any]:
    if parameters.get("required", True):
        return parameters
    return {name: value for name, value in parameters.items() if name != "required"}


def name_of(tool: dict[str, Any]) -> str:
    return str(tool["function"]["name"])


def only_named(tools: Sequence[dict[str, Any]], names: Collection[str], param: str) -> tuple[dict[str, Any], ...]:
    """Those of these names. Raises RefusedField for a name that no tool has."""
    known = {name_of(tool) for tool in tools}
    for name in names:
        if name not in known:
            raise RefusedField(f"'{param}' names the tool {name!r}, which is not among 'tools'.", param=param)
    return tuple(tool for tool in tools if name_of(tool) in names)


def chosen(tools: Sequence[dict[str, Any]], fields: Fields, *, named: Fields | None, word: str | None) -> Tooling:
    """What a `tool_choice` leaves. `word` is auto, none, required or any; `named` an object that names one tool."""
    if named is not None:
        name = named.text("name") or ""
        return Tooling(only_named(tools, (name,), fields.place("tool_choice")), must_call=True)
    if word in (None, "auto"):
        return Tooling(tuple(tools))
    if word == "none":
        return Tooling()
    if word in ("required", "any"):
        if not tools:
            raise fields.refuse("tool_choice", f"'tool_choice' is {word!r}, but there are no 'tools' to choose from.")
        return Tooling(tuple(tools), must_call=True)
    raise fields.refuse("tool_choice", f"'tool_choice' cannot be {word!r}.")


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments of an earlier call, whose text may be empty. Raises ValueError unless they are an object."""
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def arguments_text(call: ToolCall) -> str:
    return encode(call.function.arguments).decode()
