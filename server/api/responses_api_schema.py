"""What requests of `/v1/responses` may hold."""

from __future__ import annotations

from server.api.openai_schema import EFFORT, FORMAT_KIND, LIMIT
from server.api.wire_options import RUNNING
from server.api.wire_reading import (
    FLAG,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    Schema,
    between,
    either,
    list_of,
    members,
    words,
)

_PART = members(
    ("type",),
    type=words(
        "input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal", "input_image", "input_file"
    ),
    text=TEXT,
    refusal=TEXT,
    image_url=TEXT,
)
_ITEM = members(
    type=words(
        "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output",
        "local_shell_call", "local_shell_call_output", "shell_call", "shell_call_output", "apply_patch_call",
        "apply_patch_call_output", "reasoning", "web_search_call", "compaction", "item_reference",
    ),
    role=words("user", "system", "developer", "assistant"),
    content=either(TEXT, list_of(_PART)),
    call_id=TEXT,
    name=TEXT,
    namespace=TEXT,
    arguments=TEXT,
    input=TEXT,
    action=OBJECT,
    operation=OBJECT,
    output=either(TEXT, OBJECT, list_of(_PART)),
    encrypted_content=TEXT,
    summary=list_of(_PART),
)  # fmt: skip
_TOOL: Schema = members(
    type=words("function", "custom", "namespace", "web_search", "web_search_preview", "tool_search"),
    name=TEXT,
    description=TEXT,
    parameters=OBJECT,
    strict=FLAG,
    format=members(definition=TEXT),
    tools=list_of(OBJECT),
)
_CHOICE = either(
    words("none", "auto", "required"),
    members(("type",), type=words("function", "custom", "web_search"), name=TEXT),
    members(type=words("allowed_tools"), mode=words("auto", "required"), tools=list_of(members(name=TEXT))),
)

RESPONSE = members(
    ("model", "input"),
    RUNNING,
    input=either(TEXT, list_of(_ITEM)),
    instructions=TEXT,
    previous_response_id=TEXT,
    conversation=either(TEXT, OBJECT),
    prompt=OBJECT,
    background=FLAG,
    stream=FLAG,
    store=FLAG,
    max_output_tokens=LIMIT,
    temperature=NUMBER,
    top_p=NUMBER,
    reasoning=members(effort=EFFORT, summary=TEXT),
    text=members(format=members(type=FORMAT_KIND, name=TEXT, schema=OBJECT)),
    tools=list_of(_TOOL),
    tool_choice=_CHOICE,
    parallel_tool_calls=FLAG,
    max_tool_calls=WHOLE,
    truncation=words("auto", "disabled"),
    include=list_of(TEXT),
    top_logprobs=between(0, 20),
    metadata=OBJECT,
    safety_identifier=TEXT,
    prompt_cache_key=TEXT,
)
