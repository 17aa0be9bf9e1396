"""A chat with the names of tools as gpt-oss models may see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from server.messages.chat import Message, ToolCall
from server.messages.identifiers import identifiers


class ToolNames:
    """The names of one request, in its tools and in its history."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        functions = [tool.get("function") for tool in tools]
        names = [str(one.get("name", "")) for one in functions if isinstance(one, Mapping)]
        self._shown = identifiers(names)

    def in_tools(self, tools: Sequence[Mapping[str, Any]] | None) -> list[Mapping[str, Any]] | None:
        return None if tools is None else [self._tool(tool) for tool in tools]

    def in_history(self, messages: Iterable[Message]) -> list[Message]:
        return [self._message(message) for message in messages]

    def _tool(self, tool: Mapping[str, Any]) -> Mapping[str, Any]:
        function = tool.get("function")
        if not isinstance(function, Mapping):
            return tool
        name = str(function.get("name", ""))
        return {**tool, "function": {**function, "name": self._shown.get(name, name)}}

    def _message(self, message: Message) -> Message:
        calls = tuple(self._call(call) for call in message.tool_calls)
        name = self._shown.get(message.tool_name, message.tool_name)
        if calls == message.tool_calls and name == message.tool_name:
            return message
        return msgspec.structs.replace(message, tool_calls=calls, tool_name=name)

    def _call(self, call: ToolCall) -> ToolCall:
        name = self._shown.get(call.function.name, call.function.name)
        return msgspec.structs.replace(call, function=msgspec.structs.replace(call.function, name=name))
