"""What requests of the OpenAI routes may hold."""

from __future__ import annotations

from server.api.wire_options import RUNNING
from server.api.wire_reading import (
    ANYTHING,
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

EFFORT = words("none", "minimal", "low", "medium", "high", "xhigh", "ultra", "max")
FORMAT_KIND = words("text", "json_object", "json_schema")
LIMIT: Schema = {**WHOLE, "minimum": 0}
FORMAT = members(
    type=FORMAT_KIND,
    schema=OBJECT,
    json_schema=members(name=TEXT, strict=FLAG, schema=OBJECT),
)
NAME = members(("name",), name=TEXT)
FUNCTION = members(("name",), name=TEXT, description=TEXT, parameters=OBJECT, strict=FLAG)
TOOL = members(("type", "function"), type=words("function"), function=FUNCTION)
NAMED = members(type=words("function"), function=NAME)
ALLOWED = members(
    type=words("allowed_tools"), allowed_tools=members(mode=words("auto", "required"), tools=list_of(NAMED))
)
TOOL_CHOICE = either(words("none", "auto", "required"), NAMED, ALLOWED)
PART = members(
    ("type",),
    type=words("text", "image_url", "input_audio", "file", "refusal"),
    text=TEXT,
    refusal=TEXT,
    image_url=either(TEXT, members(("url",), url=TEXT, detail=TEXT)),
    input_audio=members(("data",), data=TEXT, format=TEXT),
    file=members(file_data=TEXT),
)
CALLED = members(("name",), name=TEXT, arguments=either(TEXT, OBJECT))
MESSAGE = members(
    ("role",),
    role=words("system", "developer", "user", "assistant", "tool", "function"),
    content=either(TEXT, list_of(PART)),
    name=TEXT,
    tool_call_id=TEXT,
    tool_calls=list_of(members(id=TEXT, type=words("function"), function=CALLED)),
    function_call=CALLED,
    reasoning_content=TEXT,
    reasoning=TEXT,
    thinking=TEXT,
)
SAMPLING: dict[str, Schema] = {
    "temperature": NUMBER,
    "top_p": NUMBER,
    "frequency_penalty": NUMBER,
    "presence_penalty": NUMBER,
    "seed": WHOLE,
    "stop": either(TEXT, list_of(TEXT)),
}
LIMITS: dict[str, Schema] = {
    "max_tokens": LIMIT,
    "max_completion_tokens": LIMIT,
    "n_predict": WHOLE,
    "n": between(1, 8),
    "n_cmpl": between(1, 8),
}
REASONING: dict[str, Schema] = {
    "reasoning_effort": EFFORT,
    "reasoning": members(effort=EFFORT, enabled=FLAG, exclude=FLAG, max_tokens=WHOLE),
    "chat_template_kwargs": members(enable_thinking=FLAG),
    "think": either(FLAG, EFFORT),
}
STREAMING: dict[str, Schema] = {
    "stream": FLAG,
    "stream_options": members(include_usage=FLAG),
    "timings_per_token": FLAG,
    "return_tokens": FLAG,
    "return_progress": FLAG,
}
FORMATS: dict[str, Schema] = {"response_format": FORMAT, "json_schema": OBJECT, "format": ANYTHING}
_ANSWERING: dict[str, Schema] = {**RUNNING, **SAMPLING, **LIMITS, **REASONING, **STREAMING, **FORMATS}
_TEXTS = either(TEXT, list_of(TEXT), list_of(WHOLE), list_of(list_of(WHOLE)))  # also as token ids

CHAT = members(
    ("model", "messages"),
    _ANSWERING,
    messages=list_of(MESSAGE),
    tools=list_of(TOOL),
    tool_choice=TOOL_CHOICE,
    parallel_tool_calls=FLAG,
    functions=list_of(FUNCTION),
    function_call=either(words("none", "auto"), NAME),
    logprobs=FLAG,
    top_logprobs=between(0, 20),
    modalities=list_of(words("text")),
    add_generation_prompt=FLAG,
    continue_final_message=FLAG,
    _debug_render_only=FLAG,
)
COMPLETION = members(
    ("model",),
    _ANSWERING,
    prompt=_TEXTS,
    suffix=TEXT,
    raw=FLAG,
    echo=FLAG,
    best_of=between(1, 8),
    logprobs=between(0, 20),
)
EMBEDDINGS = members(
    ("model", "input"),
    RUNNING,
    input=_TEXTS,
    encoding_format=words("float", "base64"),
    dimensions=WHOLE,
)
