"""Answers of `/v1/chat/completions`: chunks to OpenAI's object, and to its stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from server.api.openai_answer import (
    FINGERPRINT,
    Meter,
    by_choice,
    is_plain,
    late_error,
    logprobs_member,
    now,
    progress_member,
    timings_object,
    usage_object,
)
from server.api.responses import encode
from server.api.wire_runs import Piece, Totals, framed
from server.api.wire_sse import DONE, data_frame
from server.api.wire_tools import arguments_text, new_id
from server.errors import PunaError
from server.messages.chat import Chunk, GenerationRequest, Reading, ToolCall

_PLAIN_END = b'},"finish_reason":null}]}\n\n'


class Asked(msgspec.Struct, frozen=True):
    """A request, and how its answer shall look."""

    generation: GenerationRequest
    choices: int = 1
    stream: bool = False
    with_usage: bool = False
    only_one_call: bool = False
    legacy_calls: bool = False
    hides_reasoning: bool = False
    with_timings: bool = False
    reasoning_names: tuple[str, ...] = ("reasoning", "reasoning_content")


# Clients know one of two names; those that know both do not double the text.
REASONING_NAMES: dict[str, tuple[str, ...]] = {
    "both": ("reasoning", "reasoning_content"),
    "reasoning": ("reasoning",),
    "reasoning_content": ("reasoning_content",),
}


def finish_reason(chunk: Chunk, has_calls: bool, legacy: bool) -> str:
    if chunk.reason == "length":
        return "length"
    if has_calls:
        return "function_call" if legacy else "tool_calls"
    return "stop"


# ---- the object ----------------------------------------------------------------------------------------------------


def chat_object(asked: Asked, pieces: list[Piece]) -> dict[str, Any]:
    totals = Totals(asked.choices)
    for piece in pieces:
        totals.add(piece)
    chunks = by_choice(pieces, asked.choices)
    return {
        **_head(asked),
        "choices": [_choice(asked, index, chunk) for index, chunk in enumerate(chunks)],
        "usage": usage_object(totals),
        "timings": timings_object(totals),
    }


def rendered_object(asked: Asked, pieces: list[Piece]) -> dict[str, Any]:
    """The answer to `_debug_render_only`: the prompt, and nothing generated."""
    chunk = pieces[0].chunk
    info: dict[str, Any] = {"rendered_template": chunk.rendered or ""}
    if chunk.image_count:
        info["image_count"] = chunk.image_count
    choice = {"index": 0, "message": {"role": "", "content": ""}, "finish_reason": None}
    return {**_head(asked), "choices": [choice], "usage": usage_object(Totals()), "_debug_info": info}


def _head(asked: Asked) -> dict[str, Any]:
    return {
        "id": new_id("chatcmpl-"),
        "object": "chat.completion",
        "created": now(),
        "model": asked.generation.model,
        "system_fingerprint": FINGERPRINT,
    }


def _choice(asked: Asked, index: int, chunk: Chunk) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": chunk.text, "refusal": None}
    if not asked.hides_reasoning:
        message |= dict.fromkeys(asked.reasoning_names if chunk.thinking else (), chunk.thinking)
    if chunk.tool_calls and asked.legacy_calls:
        message["function_call"] = _function(chunk.tool_calls[0])
    elif chunk.tool_calls:
        message["tool_calls"] = [_call(call, at) for at, call in enumerate(chunk.tool_calls)]
    reason = finish_reason(chunk, bool(chunk.tool_calls), asked.legacy_calls)
    tokens = {"tokens": chunk.tokens} if chunk.tokens else {}
    return {"index": index, "message": message, "finish_reason": reason, **logprobs_member(chunk.logprobs), **tokens}


def _function(call: ToolCall) -> dict[str, str]:
    return {"name": call.function.name, "arguments": arguments_text(call)}


def _call(call: ToolCall, index: int) -> dict[str, Any]:
    return {"id": new_id("call_"), "index": index, "type": "function", "function": _function(call)}


# ---- the stream ----------------------------------------------------------------------------------------------------


class ChatStream:
    """Writes the stream of one request; every choice has a role, a finish and calls of its own."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._head = {**_head(asked), "object": "chat.completion.chunk"}
        self._totals = Totals(asked.choices)
        self._begun: set[int] = set()
        self._calls: dict[int, int] = {}
        self._meters = {0: Meter()}
        self._timings: dict[str, Any] = {}
        self._fronts: dict[int, bytes] = {}

    def frames(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
        return framed(pieces, self.feed, self.end)

    def feed(self, piece: Piece) -> bytes:
        """The frames of one chunk: thoughts, text, calls, the finish, in this order."""
        index, chunk, _ = piece
        if index in self._begun and is_plain(chunk) and not self._asked.with_timings:
            return self._front(index) + encode(chunk.text) + _PLAIN_END
        if chunk.reading is not None:
            return self._progress(index, chunk.reading)
        self._totals.add(piece)
        self._measure(piece)
        logprobs = logprobs_member(chunk.logprobs) | ({"tokens": chunk.tokens} if chunk.tokens else {})
        frames: list[bytes] = []
        thinking = "" if self._asked.hides_reasoning else chunk.thinking
        if thinking:
            named = dict.fromkeys(self._asked.reasoning_names, thinking)
            delta = {**({} if chunk.text else {"content": ""}), **named}
            frames.append(self._frame(index, delta, logprobs))
            logprobs = {}
        is_silent_first = chunk.done and index not in self._begun and not chunk.tool_calls
        if chunk.text or logprobs or is_silent_first:
            frames.append(self._frame(index, {"content": chunk.text}, logprobs))
        for call in chunk.tool_calls:
            frames += self._call_frames(index, call)
        if chunk.done:
            reason = finish_reason(chunk, index in self._calls, self._asked.legacy_calls)
            frames.append(self._frame(index, {}, finish=reason))
        return b"".join(frames)

    def end(self) -> bytes:
        if not self._asked.with_usage:
            return DONE
        return data_frame({**self._head, "choices": [], "usage": usage_object(self._totals)}) + DONE

    def late_error(self, error: PunaError) -> bytes:
        return late_error(error)

    def _front(self, index: int) -> bytes:
        """What stands before the text in a frame of text alone: the common case, made once."""
        if index not in self._fronts:
            frame = self._frame(index, {"content": ""})
            self._fronts[index] = frame.removesuffix(b'""' + _PLAIN_END)
        return self._fronts[index]

    def _measure(self, piece: Piece) -> None:
        """The last chunk of a choice tells its timings, with `timings_per_token` all do."""
        index, chunk, _ = piece
        if self._asked.with_timings or chunk.usage is not None:
            meter = self._meters.setdefault(index, Meter())
            self._timings = {"timings": meter.timings(piece)}

    def _call_frames(self, index: int, call: ToolCall) -> list[bytes]:
        """A call in two pieces: who is called, then with what."""
        at = self._calls.get(index, 0)
        self._calls[index] = at + 1
        function = _function(call)
        if self._asked.legacy_calls:
            named: dict[str, Any] = {"function_call": {"name": function["name"], "arguments": ""}}
            filled: dict[str, Any] = {"function_call": {"arguments": function["arguments"]}}
        else:
            empty = {"name": function["name"], "arguments": ""}
            named = {"tool_calls": [{"index": at, "id": new_id("call_"), "type": "function", "function": empty}]}
            filled = {"tool_calls": [{"index": at, "function": {"arguments": function["arguments"]}}]}
        return [self._frame(index, named), self._frame(index, filled)]

    def _frame(
        self, index: int, delta: dict[str, Any], beside: dict[str, Any] | None = None, finish: str | None = None
    ) -> bytes:
        """`beside` are members of the choice next to its delta."""
        choice = {"index": index, "delta": self._with_role(index, delta, finish), "finish_reason": finish}
        timings = self._timings if finish is not None or self._asked.with_timings else {}
        return data_frame({**self._head, "choices": [{**choice, **(beside or {})}], **timings})

    def _progress(self, index: int, reading: Reading) -> bytes:
        choice = {"index": index, "delta": self._with_role(index, {}, None), "finish_reason": None}
        return data_frame({**self._head, "choices": [choice], **progress_member(reading)})

    def _with_role(self, index: int, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        """The first piece of a choice says who speaks."""
        if index in self._begun or finish is not None:
            return delta
        self._begun.add(index)
        return {"role": "assistant", "content": "", **delta}
