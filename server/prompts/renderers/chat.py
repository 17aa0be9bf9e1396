"""What a renderer makes a prompt of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from server.messages.chat import Message, Think
from server.prompts.renderers.schema import canonical

INSTRUCTIONS = ("system", "developer")


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """`messages` carry the marks of their images; `think` is resolved."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    think: Think = None

    def thinks(self, default: bool) -> bool:
        """Whether the answer shall begin with a thought. `default` is what the family does where nothing is said."""
        return default if self.think is None else bool(self.think)

    @property
    def last(self) -> Message | None:
        return self.messages[-1] if self.messages else None

    @property
    def opens_with_instruction(self) -> bool:
        return bool(self.messages) and is_instruction(self.messages[0])

    @property
    def is_begun(self) -> bool:
        """Whether the client has begun the answer."""
        return self.last is not None and self.last.role == "assistant"

    def role_at(self, at: int) -> str:
        """The role of the message at a place, "" outside."""
        return self.messages[at].role if 0 <= at < len(self.messages) else ""

    def is_last(self, at: int) -> bool:
        return at == len(self.messages) - 1

    @property
    def last_user(self) -> int:
        """The place of the last user message, -1 where there is none."""
        return max((at for at, message in enumerate(self.messages) if message.role == "user"), default=-1)

    @property
    def last_question(self) -> int:
        """The same without messages that are but the result of a tool; the end where there is none."""
        found = (at for at, message in enumerate(self.messages) if message.role == "user" and not _is_result(message))
        return max(found, default=len(self.messages))

    def asked_name(self, at: int) -> str:
        """The tool of a result: that of the call with its id, or the one it names; "" where neither is told."""
        result = self.messages[at]
        by_id = {call.id: call.function.name for one in self.messages[:at] for call in one.tool_calls if call.id}
        return by_id.get(result.tool_call_id) or result.tool_name

    def result_name(self, at: int) -> str:
        """The same, or the tool of the call that stands in the same place of the message before the results."""
        asked = at
        while self.role_at(asked) == "tool":
            asked -= 1
        calls = self.messages[asked].tool_calls if asked >= 0 else ()
        place = at - asked - 1
        in_place = calls[place].function.name if place < len(calls) else ""
        return self.asked_name(at) or in_place

    @property
    def declared(self) -> list[dict[str, Any]]:
        """The tools with the keys of their schemas in the usual order."""
        return [canonical(tool) for tool in self.tools]

    @property
    def functions(self) -> list[dict[str, Any]]:
        found = (tool.get("function") for tool in self.declared)
        return [function if isinstance(function, dict) else {} for function in found]


def _is_result(message: Message) -> bool:
    content = message.content.strip()
    return content.startswith("<tool_response>") and content.endswith("</tool_response>")


def is_instruction(message: Message) -> bool:
    return message.role in INSTRUCTIONS
