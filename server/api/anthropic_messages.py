"""Messages of `/v1/messages`: Anthropic's blocks to the internal forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from server.api.wire_fields import Fields, RefusedField, kind_of
from server.api.wire_media import Parts, decode_base64
from server.messages.chat import Message, ToolCall, ToolFunction

# Claude Code puts such a block in front, with a stamp that changes with every request: a prompt that begins with it
# could never be taken from the prefix cache.
_BILLING = "x-anthropic-billing-header:"
_ROLES = ("user", "assistant", "system")


def read_system(fields: Fields) -> list[Message]:
    """The system text as a message; none where there is no text."""
    value = fields.get("system")
    if isinstance(value, list):
        blocks = [block.text("text") or "" for block in fields.objects("system") if block.text("type") == "text"]
        text = "".join(block for block in blocks if not block.startswith(_BILLING))
    else:
        text = fields.text("system") or ""
    return [Message(role="system", content=text)] if text else []


def read_messages(fields: Fields) -> list[Message]:
    if not fields.items("messages"):
        raise fields.refuse("messages", "messages is required", "missing_required_parameter")
    names: dict[str, str] = {}
    return [message for item in fields.objects("messages") for message in _messages(item, names)]


def _messages(item: Fields, names: dict[str, str]) -> list[Message]:
    """One message, and one more for each result of a tool. `names` are the tools of earlier calls by their ids."""
    role = (item.text("role") or "").lower()
    if role not in _ROLES:
        raise item.refuse("role", f"'{item.place('role')}' cannot be {role!r}; use one of {', '.join(_ROLES)}.")
    gathered = _Gathered(names)
    content = item.get("content")
    if isinstance(content, str):
        gathered.parts.add(content)
    elif isinstance(content, list):
        for block in item.objects("content"):
            gathered.add(block)
    elif "content" not in item.members:
        raise item.refuse("content", f"'{item.place('content')}' is missing.", "missing_required_parameter")
    elif content is not None:
        place = item.place("content")
        raise RefusedField(f"'{place}' must be a string or a list of blocks, not {kind_of(content)}.", param=place)
    message = gathered.message(role)
    said = [message] if message.content or message.images or message.tool_calls or message.thinking else []
    # An answer to the model's calls follows them directly, whatever else the user says.
    return [*gathered.results, *said] if role == "user" else [*said, *gathered.results]


@dataclass
class _Gathered:
    """What the blocks of one message say."""

    names: dict[str, str]
    parts: Parts = field(default_factory=Parts)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)

    def add(self, block: Fields) -> None:
        """Blocks that no local model can use (redacted thoughts, unknown kinds) are passed over."""
        match block.text("type"):
            case "text":
                self.parts.add(block.text("text") or "")
            case "thinking":
                self.thoughts.append(block.text("thinking") or "")
            case "image":
                self.parts.add(_image(block))
            case "document" | "search_result":
                self.parts.add(_document(block))
            case "tool_use" | "server_tool_use":
                self.calls.append(_call(block, len(self.calls)))
                self.names[self.calls[-1].id] = self.calls[-1].function.name
            case "tool_result" | "web_search_tool_result":
                self.results.append(_result(block, self.names))

    def message(self, role: str) -> Message:
        return Message(
            role=role,
            content=self.parts.content,
            thinking="\n".join(thought for thought in self.thoughts if thought),
            images=self.parts.images,
            tool_calls=tuple(self.calls),
        )


def _call(block: Fields, index: int) -> ToolCall:
    for name in ("id", "name"):
        if not block.text(name):
            why = f"tool_use block missing required '{name}' field"
            raise block.refuse(name, why, "missing_required_parameter")
    function = ToolFunction(name=block.text("name") or "", arguments=block.mapping("input") or {}, index=index)
    return ToolCall(id=block.text("id") or "", function=function)


def _result(block: Fields, names: dict[str, str]) -> Message:
    call_id = block.text("tool_use_id") or ""
    parts = Parts()
    content = block.get("content")
    if isinstance(content, str):
        parts.add(content)
    elif isinstance(content, dict):  # how a failed search of a server's own tool comes back
        parts.add(f"web_search_tool_result_error: {content.get('error_code', 'unknown')}")
    else:
        for part in block.objects("content"):
            _add_result_part(part, parts)
    text = parts.content
    if block.flag("is_error") and not text.lower().startswith("error"):
        text = f"Error: {text}"
    name = names.get(call_id, "")
    return Message(role="tool", content=text, images=parts.images, tool_name=name, tool_call_id=call_id)


def _add_result_part(part: Fields, parts: Parts) -> None:
    match part.text("type"):
        case "text":
            parts.add(part.text("text") or "")
        case "image":
            parts.add(_image(part, "tool_result image"))
        case "web_search_result":
            parts.add(f"- {part.text('title') or ''}: {part.text('url') or ''}\n")
        case "document" | "search_result":
            parts.add(_document(part))


def _image(block: Fields, what: str = "image") -> bytes:
    source = block.get("source")
    if not isinstance(source, dict):
        raise RefusedField(f"invalid {what} source", param=block.where)
    kind = source.get("type")
    if kind != "base64":
        raise RefusedField(f"invalid image source type: {kind}. Only base64 images are supported.", param=block.where)
    data: Any = source.get("data")
    try:
        return decode_base64(data if isinstance(data, str) else "@")
    except ValueError as error:
        raise RefusedField(f"invalid base64 image data: {error}", param=block.where) from None


def _document(block: Fields) -> str:
    """The text of a document or of a search result; its title stands in front."""
    title = block.text("title")
    front = f"{title}\n" if title else ""
    if block.text("type") == "search_result":
        return front + "".join(part.text("text") or "" for part in block.objects("content"))
    source = block.fields("source") or Fields({}, block.place("source"))
    if source.text("type") == "text":
        return f"{front}{source.text('data') or ''}\n"
    if source.text("type") == "content":
        content = source.get("content")
        parts = [content] if isinstance(content, str) else [p.text("text") or "" for p in source.objects("content")]
        return f"{front}{''.join(parts)}\n"
    why = "Only documents with a text source can be read; send the text of other documents."
    raise RefusedField(why, param=block.where, code="unsupported_value")
