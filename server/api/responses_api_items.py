"""Input items of `/v1/responses`: a conversation in items to messages."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from server.api.responses import encode
from server.api.responses_api_tools import INPUT, qualified
from server.api.wire_fields import Fields, RefusedField, kind_of
from server.api.wire_media import Parts, image_of_url
from server.api.wire_tools import arguments_of
from server.messages.chat import Message, ToolCall, ToolFunction

log = logging.getLogger(__name__)

_ROLES = {"user": "user", "system": "system", "developer": "system", "assistant": "assistant"}
# Calls that a client ran under the name of their kind, and where their input stands.
_CLIENT_CALLS = {"local_shell_call": "action", "shell_call": "action", "apply_patch_call": "operation"}
_RESULTS = {"function_call_output", "custom_tool_call_output", *(f"{kind}_output" for kind in _CLIENT_CALLS)}
# What services add to a history that agents send back whole; nothing of it can be shown to a local model.
_PASSED_OVER = {
    "web_search_call", "compaction", "mcp_list_tools", "mcp_call", "tool_search_call", "tool_search_output",
    "image_generation_call", "code_interpreter_call", "file_search_call", "computer_call",
}  # fmt: skip


@dataclass
class _Draft:
    """A message that items may still add to."""

    role: str
    content: str = ""
    thinking: str = ""
    images: tuple[bytes, ...] = ()
    calls: list[ToolCall] = field(default_factory=list)
    tool_name: str = ""
    tool_call_id: str = ""

    def done(self) -> Message:
        return Message(
            role=self.role,
            content=self.content,
            thinking=self.thinking,
            images=self.images,
            tool_calls=tuple(self.calls),
            tool_name=self.tool_name,
            tool_call_id=self.tool_call_id,
        )


def read_items(items: Iterable[Any]) -> list[Message]:
    """The messages of a list of items. Raises RefusedField naming the item."""
    conversation = _Conversation()
    for at, item in enumerate(items):
        conversation.add(Fields.of(item, f"input[{at}]"))
    return conversation.messages()


class _Conversation:
    def __init__(self) -> None:
        self._drafts: list[_Draft] = []
        self._names: dict[str, str] = {}
        self._thought = ""  # waits for what the model did after it

    def messages(self) -> list[Message]:
        if self._thought:
            self._drafts.append(_Draft("assistant", thinking=self._take_thought()))
        return [draft.done() for draft in self._drafts]

    def add(self, item: Fields) -> None:
        kind = item.text("type") or ("message" if item.text("role") else None)
        if kind is None:
            raise RefusedField(f"{item.where}: input item missing required 'type' field", param=item.where)
        if kind == "message":
            self._message(item)
        elif kind == "function_call":
            self._call(item, _named(item), _arguments(item))
        elif kind == "custom_tool_call":
            self._call(item, _named(item), {INPUT: item.text("input") or ""})
        elif kind in _CLIENT_CALLS:
            self._call(item, kind.removesuffix("_call"), item.mapping(_CLIENT_CALLS[kind]) or {})
        elif kind in _RESULTS:
            self._result(item)
        elif kind == "reasoning":
            self._thought += _thought(item)
        elif kind in _PASSED_OVER:
            log.info("an input item of the type %s was passed over", kind)
        else:
            raise RefusedField(f'{item.where}: unknown input item type: "{kind}"', param=item.where)

    def _take_thought(self) -> str:
        thought, self._thought = self._thought, ""
        return thought

    def _message(self, item: Fields) -> None:
        role = (item.text("role") or "").lower()
        if role not in _ROLES:
            raise item.refuse("role", f"{item.where}: unknown role: {role!r}")
        content, images = _content(item, "content")
        draft = _Draft(_ROLES[role], content, images=images)
        if draft.role == "assistant":
            draft.thinking = self._take_thought()
        self._drafts.append(draft)

    def _call(self, item: Fields, name: str, arguments: dict[str, Any]) -> None:
        """A call belongs to the assistant's message before it."""
        if not self._drafts or self._drafts[-1].role != "assistant":
            self._drafts.append(_Draft("assistant"))
        draft = self._drafts[-1]
        draft.thinking += self._take_thought()
        identifier = item.text("call_id") or ""
        function = ToolFunction(name=name, arguments=arguments, index=len(draft.calls))
        draft.calls.append(ToolCall(id=identifier, function=function))
        self._names[identifier] = name

    def _result(self, item: Fields) -> None:
        call_id = item.text("call_id") or ""
        self._fold(call_id)
        value = item.get("output")
        content: str = ""
        images: tuple[bytes, ...] = ()
        if isinstance(value, dict):  # patches and shells answer with an object; the model reads it as it is
            content = encode(value).decode()
        elif value is not None:
            content, images = _content(item, "output")
        name = self._names.get(call_id, "")
        self._drafts.append(_Draft("tool", content, images=images, tool_name=name, tool_call_id=call_id))

    def _fold(self, call_id: str) -> None:
        """What the model said between a call and its result joins the call's message: the result must follow it."""
        if len(self._drafts) < 2:
            return
        said, caller = self._drafts[-1], self._drafts[-2]
        is_between = said.role == "assistant" and not said.calls and any(call.id == call_id for call in caller.calls)
        if not is_between:
            return
        caller.content = "\n".join(text for text in (caller.content, said.content) if text)
        caller.thinking += said.thinking
        caller.images += said.images
        self._drafts.pop()


def _named(item: Fields) -> str:
    return qualified(item.text("name") or "", item.text("namespace") or "")


def _arguments(item: Fields) -> dict[str, Any]:
    try:
        return arguments_of(item.text("arguments") or "")
    except ValueError as error:
        why = f"{item.where}: failed to parse function call arguments: {error}"
        raise RefusedField(why, param=item.place("arguments")) from None


def _thought(item: Fields) -> str:
    """Encrypted content is plain text where this server issued it."""
    encrypted = item.text("encrypted_content")
    if encrypted:
        return encrypted
    for name in ("content", "summary"):
        text = "".join(part.text("text") or "" for part in item.objects(name))
        if text:
            return text
    return ""


def _content(item: Fields, name: str) -> tuple[str, tuple[bytes, ...]]:
    value = item.get(name)
    if isinstance(value, str):
        return value, ()
    if not isinstance(value, list):
        why = f"{item.where}: {name} must be a string or array, not {kind_of(value)}"
        raise RefusedField(why, param=item.place(name))
    parts = Parts()
    for at, part in enumerate(item.objects(name)):
        match part.text("type"):
            case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
                parts.add(part.text("text") or "")
            case "refusal":
                parts.add(part.text("refusal") or "")
            case "input_image":
                for image in _image(part):
                    parts.add(image)
            case "input_file":
                raise RefusedField("file inputs are not currently supported", param=part.where)
            case kind:
                raise RefusedField(f"{item.where}: {name}[{at}]: unknown content type: {kind}", param=part.where)
    return parts.content, parts.images


def _image(part: Fields) -> list[bytes]:
    """A picture that only has the id of a file is nowhere here."""
    url = part.text("image_url")
    if not url:
        return []
    try:
        return [image_of_url(url)]
    except ValueError as error:
        raise RefusedField(str(error), param=part.place("image_url")) from None
