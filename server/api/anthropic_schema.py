"""What requests of `/v1/messages` may hold."""

from __future__ import annotations

from server.api.openai_schema import FORMAT_KIND
from server.api.wire_options import RUNNING
from server.api.wire_reading import (
    ANYTHING,
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Schema,
    either,
    list_of,
    members,
    words,
)

_SOURCE = members(
    type=words("base64", "text", "content", "url"), media_type=TEXT, data=TEXT, url=TEXT, content=ANYTHING
)
_INNER = members(
    ("type",),
    type=words("text", "image", "document", "search_result", "web_search_result"),
    text=TEXT,
    title=TEXT,
    url=TEXT,
    source=_SOURCE,
    content=ANYTHING,
)
_BLOCK = members(
    ("type",),
    type=words(
        "text", "thinking", "redacted_thinking", "image", "document", "search_result", "tool_use", "tool_result",
        "server_tool_use", "web_search_tool_result",
    ),
    text=TEXT,
    thinking=TEXT,
    title=TEXT,
    source=_SOURCE,
    id=TEXT,
    name=TEXT,
    input=OBJECT,
    tool_use_id=TEXT,
    is_error=FLAG,
    content=either(TEXT, list_of(_INNER), OBJECT),
)  # fmt: skip
_FORMAT = members(type=FORMAT_KIND, schema=OBJECT)
_ASKED: dict[str, Schema] = {
    **RUNNING,
    "system": either(TEXT, list_of(members(type=words("text"), text=TEXT))),
    "messages": list_of(
        members(
            ("role", "content"),
            role=words("user", "assistant", "system"),
            content=either(TEXT, list_of(_BLOCK)),
        )
    ),
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": WHOLE,
    "stop_sequences": list_of(TEXT),
    "tools": list_of(members(type=TEXT, name=TEXT, description=TEXT, input_schema=OBJECT, max_uses=WHOLE)),
    "tool_choice": members(type=words("auto", "any", "tool", "none"), name=TEXT, disable_parallel_tool_use=FLAG),
    "thinking": members(type=words("enabled", "disabled", "adaptive", "between_tools"), budget_tokens=WHOLE),
    "output_config": members(effort=words("low", "medium", "high", "xhigh", "max"), format=_FORMAT),
    "output_format": _FORMAT,
}

MESSAGE = members(("model", "max_tokens", "messages"), _ASKED, max_tokens={**WHOLE, "minimum": 1}, stream=FLAG)
COUNT = members(("model", "messages"), **_ASKED)
