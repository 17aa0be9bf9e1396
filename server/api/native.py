"""`/api/generate` and `/api/chat`: wire to GenerationRequest, chunks to wire.

A streamed piece of text is the common case, so its constant parts are bytes already and only the text is encoded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from server.api.reading import reads
from server.api.requests import Answering, ChatRequest, GenerateRequest
from server.api.responses import encode, json_answer, omit_empty, utc_timestamp
from server.api.services import services_of
from server.api.streaming import Streamed, all_of, read_body
from server.errors import InvalidRequest
from server.messages.chat import Chunk, GenerationRequest, TokenLogprob, ToolCall, TopLogprob, Usage
from server.messages.options import OPTION_NAMES

MAX_TOP_LOGPROBS = 20
MAX_TOLD_OPTIONS = 20

log = logging.getLogger(__name__)


# ---- requests ------------------------------------------------------------------------------------------------------


class _Formatted(msgspec.Struct):
    format: msgspec.Raw = msgspec.Raw(b"")


def _format_text(request: Answering, body: bytes) -> str:
    """`format` as it was sent: a schema's order counts, and so do the words of an error about it."""
    if request.format is None or request.format == "":
        return ""
    try:
        raw = bytes(msgspec.json.decode(body, type=_Formatted).format)
    except (msgspec.DecodeError, RecursionError):  # only the lenient decoder reads this body
        raw = b""
    return (raw or encode(request.format)).decode()


def _common(request: Answering, body: bytes) -> dict[str, Any]:
    if not 0 <= request.top_logprobs <= MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    return {
        "model": request.model,
        "format": _format_text(request, body),
        "options": request.options,
        "keep_alive_seconds": request.keep_alive,
        "think": request.think,
        "truncate": request.truncate,
        "shift": request.shift,
        "logprobs": request.logprobs,
        "top_logprobs": request.top_logprobs,
        "debug_render_only": request.debug_render_only,
    }


def generation_of(request: GenerateRequest, body: bytes) -> GenerationRequest:
    return GenerationRequest(
        is_chat=False,
        prompt=request.prompt,
        suffix=request.suffix,
        system=request.system,
        template=request.template,
        context=tuple(request.context),
        raw=request.raw,
        images=tuple(request.images),
        **_common(request, body),
    )


def chat_of(request: ChatRequest, body: bytes) -> GenerationRequest:
    return GenerationRequest(
        is_chat=True, messages=request.messages, tools=tuple(request.tools), **_common(request, body)
    )


# ---- answers -------------------------------------------------------------------------------------------------------


def _entry(entry: TokenLogprob | TopLogprob) -> dict[str, Any]:
    fields: dict[str, Any] = {"token": entry.token, "logprob": entry.logprob}
    if entry.bytes:
        fields["bytes"] = entry.bytes
    if isinstance(entry, TokenLogprob) and entry.top:
        fields["top_logprobs"] = [_entry(item) for item in entry.top]
    return fields


def _logprobs(entries: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    return [_entry(entry) for entry in entries]


def _function(call: ToolCall) -> dict[str, Any]:
    function = call.function
    return {"function": {"index": function.index, "name": function.name, "arguments": function.arguments}}


def _call(call: ToolCall) -> dict[str, Any]:
    return {**omit_empty({"id": call.id}), **_function(call)}


def _statistics(usage: Usage | None) -> dict[str, int]:
    if usage is None:
        return {}
    return omit_empty(
        {
            "total_duration": usage.total_ns,
            "load_duration": usage.load_ns,
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": usage.prompt_ns,
            "eval_count": usage.eval_tokens,
            "eval_duration": usage.eval_ns,
        }
    )


def _debug_info(chunk: Chunk) -> dict[str, Any]:
    if chunk.rendered is None:
        return {}
    info = {"rendered_template": chunk.rendered, **omit_empty({"image_count": chunk.image_count})}
    return {"_debug_info": info}


def merged(chunks: list[Chunk]) -> Chunk:
    """The answer as one chunk: the last one, with everything that was said before."""
    last = chunks[-1] if chunks else Chunk()
    if len(chunks) < 2:
        return last
    return msgspec.structs.replace(
        last,
        text="".join(chunk.text for chunk in chunks),
        thinking="".join(chunk.thinking for chunk in chunks),
        tool_calls=tuple(call for chunk in chunks for call in chunk.tool_calls),
        logprobs=tuple(entry for chunk in chunks for entry in chunk.logprobs),
    )


def generate_object(model: str, chunk: Chunk) -> dict[str, Any]:
    """One object of `/api/generate`, its keys in the reference's order."""
    return {
        "model": model,
        "created_at": utc_timestamp(),
        "response": chunk.text,
        **omit_empty({"thinking": chunk.thinking}),
        "done": chunk.done,
        **omit_empty({"done_reason": chunk.reason, "context": chunk.context}),
        **_statistics(chunk.usage),
        **omit_empty({"tool_calls": [_function(call) for call in chunk.tool_calls]}),
        **_debug_info(chunk),
        **omit_empty({"logprobs": _logprobs(chunk.logprobs)}),
    }


def chat_object(model: str, chunk: Chunk) -> dict[str, Any]:
    """One object of `/api/chat`, its keys in the reference's order."""
    message = {
        "role": "" if chunk.rendered is not None else "assistant",
        "content": chunk.text,
        **omit_empty({"thinking": chunk.thinking, "tool_calls": [_call(call) for call in chunk.tool_calls]}),
    }
    return {
        "model": model,
        "created_at": utc_timestamp(),
        "message": message,
        "done": chunk.done,
        **omit_empty({"done_reason": chunk.reason}),
        **_debug_info(chunk),
        **omit_empty({"logprobs": _logprobs(chunk.logprobs)}),
        **_statistics(chunk.usage),
    }


class NativeStream:
    """Renders the chunks of one streamed answer. `model` is the name as it was sent."""

    def __init__(self, model: str, is_chat: bool) -> None:
        self._model = model
        self._is_chat = is_chat
        self._held: tuple[ToolCall, ...] = ()
        self._object = chat_object if is_chat else generate_object
        self._head = b'{"model":' + encode(model) + b',"created_at":"'
        text_key = b'"message":{"role":"assistant","content":' if is_chat else b'"response":'
        self._middle = b'",' + text_key
        self._tail = b'},"done":false}\n' if is_chat else b',"done":false}\n'

    def __call__(self, chunk: Chunk) -> bytes | Response:
        if chunk.rendered is not None or chunk.reason in ("load", "unload"):
            return json_answer(self._object(self._model, chunk))
        if not self._is_chat:
            chunk = self._calls_last(chunk)
        if chunk.done or chunk.logprobs or chunk.tool_calls or chunk.thinking:
            return encode(self._object(self._model, chunk)) + b"\n"
        return self._head + utc_timestamp().encode() + self._middle + encode(chunk.text) + self._tail

    def _calls_last(self, chunk: Chunk) -> Chunk:
        """Calls of `/api/generate` stand in the last object."""
        self._held += chunk.tool_calls
        return msgspec.structs.replace(chunk, tool_calls=self._held if chunk.done else ())


def left_out(chunk: Chunk) -> dict[str, str]:
    """Headers that say what of a long conversation the model did not see; the objects have no place for it."""
    counts = {"X-Puna-Dropped-Messages": chunk.dropped_messages, "X-Puna-Truncated-Tokens": chunk.cut_tokens}
    return {name: str(count) for name, count in counts.items() if count}


def ignored_options(options: Mapping[str, Any]) -> dict[str, str]:
    """A header with the names of options that nobody knows: misspelt ones, and those of older versions."""
    names = [quote(name[:64], safe="") for name, value in options.items() if name not in OPTION_NAMES]
    return {"X-Puna-Ignored-Options": ", ".join(names[:MAX_TOLD_OPTIONS])} if names else {}


# ---- routes --------------------------------------------------------------------------------------------------------


@reads(GenerateRequest)
async def generate(request: Request, asked: GenerateRequest) -> ASGIApp:
    return await _answer(request, generation_of(asked, await read_body(request)), asked.stream)


@reads(ChatRequest)
async def chat(request: Request, asked: ChatRequest) -> ASGIApp:
    return await _answer(request, chat_of(asked, await read_body(request)), asked.stream)


async def _answer(request: Request, asked: GenerationRequest, stream: bool) -> ASGIApp:
    chunks = services_of(request).inference.answer(asked)
    ignored = ignored_options(asked.options)
    if ignored:
        log.info("options of a request for %r that nobody knows: %s", asked.model, *ignored.values())
    if stream:
        rendered = NativeStream(asked.model, asked.is_chat)
        return Streamed(chunks, rendered, headers=lambda first: {**left_out(first), **ignored})
    whole = merged(await all_of(request, chunks))
    answer = json_answer((chat_object if asked.is_chat else generate_object)(asked.model, whole))
    answer.headers.update({**left_out(whole), **ignored})
    return answer
