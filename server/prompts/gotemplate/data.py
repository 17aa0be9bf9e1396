"""A chat as the values that templates see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from server.messages.chat import Message, Think
from server.prompts.gotemplate import values as v
from server.prompts.think import is_on, level


def root(messages: Iterable[Message], tools: Iterable[Mapping[str, Any]] | None, think: Think) -> dict[str, v.Value]:
    """The keys of messages mode. `tools` None is a request without the key, which prints `null`."""
    messages = tuple(messages)
    return {
        "System": "\n\n".join(message.content for message in messages if message.role == "system"),
        "Messages": v.Sequence([_message(message) for message in merge(messages)] or None),
        "Tools": v.Tools(None if tools is None else [_tool(tool) for tool in tools]),
        "Response": "",
        **think_keys(think),
    }


def think_keys(think: Think) -> dict[str, v.Value]:
    return {"Think": is_on(think), "ThinkLevel": level(think), "IsThinkSet": think is not None}


def merge(messages: Iterable[Message]) -> list[Message]:
    """Neighbours of one role become one message, but for tool results and messages with more than text."""
    merged: list[Message] = []
    for message in messages:
        last = merged[-1] if merged else None
        if last and last.role == message.role != "tool" and _is_text(last) and _is_text(message):
            merged[-1] = msgspec.structs.replace(last, content=f"{last.content}\n\n{message.content}")
        else:
            merged.append(message)
    return merged


def _is_text(message: Message) -> bool:
    return not (message.tool_calls or message.thinking or message.images)


def _message(message: Message) -> v.Message:
    calls = [_call(call.id, call.function) for call in message.tool_calls]
    return v.Message(
        Role=message.role,
        Content=message.content,
        Thinking=message.thinking,
        Images=v.Sequence(list(message.images) or None),
        ToolCalls=v.Sequence(calls or None),
        ToolName=message.tool_name,
        ToolCallID=message.tool_call_id,
    )


def _call(identifier: str, function: Any) -> v.Call:
    arguments = v.Arguments(plain(function.arguments) if function.arguments is not None else None)
    return v.Call(
        ID=identifier, Function=v.CalledFunction(Index=function.index, Name=function.name, Arguments=arguments)
    )


def plain(value: Any) -> Any:
    """A JSON value with its integers marked as such."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return v.WholeNumber(value)
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _strings(value: Any) -> v.Sequence:
    return v.Sequence([_text(item) for item in value] if isinstance(value, (list, tuple)) else None)


def _tool(tool: Mapping[str, Any]) -> v.Tool:
    function = _object(tool.get("function"))
    return v.Tool(
        Type=_text(tool.get("type")),
        Items=plain(tool.get("items")),
        Function=v.ToolFunction(
            Name=_text(function.get("name")),
            Description=_text(function.get("description")),
            Parameters=_parameters(_object(function.get("parameters"))),
        ),
    )


def _parameters(schema: Mapping[str, Any]) -> v.Parameters:
    properties = schema.get("properties")
    named = {key: _property(item) for key, item in properties.items()} if isinstance(properties, Mapping) else None
    return v.Parameters(
        Type=_text(schema.get("type")),
        Defs=plain(schema.get("$defs")),
        Items=plain(schema.get("items")),
        Required=_strings(schema.get("required")),
        Properties=v.Properties(named),
    )


def _property(schema: Any) -> v.Property:
    schema = _object(schema)
    types, options, choices = schema.get("type"), schema.get("anyOf"), schema.get("enum")
    properties = schema.get("properties")
    return v.Property(
        AnyOf=v.Sequence([_property(one) for one in options] if isinstance(options, (list, tuple)) else None),
        Type=v.TypeNames([types] if isinstance(types, str) else _strings(types) if types is not None else None),
        Items=plain(schema.get("items")),
        Description=_text(schema.get("description")),
        Enum=v.Sequence(plain(choices) if isinstance(choices, (list, tuple)) else None),
        Properties=v.NestedProperties(
            {key: _property(one) for key, one in properties.items()} if isinstance(properties, Mapping) else None
        ),
        Required=_strings(schema.get("required")),
    )
