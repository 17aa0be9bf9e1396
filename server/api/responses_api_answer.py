"""Answers of `/v1/responses`: chunks to output items, each step an event of the stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from server.api.openai_answer import logprob_entries, now
from server.api.responses_api_request import Asked
from server.api.responses_api_tools import INPUT
from server.api.wire_errors import code_of
from server.api.wire_runs import Piece, SearchStep, framed
from server.api.wire_sse import event_frame
from server.api.wire_tools import arguments_text, new_id
from server.errors import PunaError
from server.messages.chat import Chunk, TokenLogprob, ToolCall, Usage

Item = dict[str, Any]


class ResponseWriter:
    """One response in the making. Its methods return the frames of a stream; an answer sent whole leaves them.

    One item is open at a time; another kind of output closes it. Items stand in the order of their generation.
    """

    def __init__(self, asked: Asked, keep: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._asked = asked
        self._keep = keep
        self._id = new_id("resp_")
        self._created_at = now()
        self._output: list[Item] = []
        self._open: Item | None = None
        self._text = ""
        self._logprobs: list[dict[str, Any]] = []
        self._sequence = 0
        self._has_begun = False
        self._response: dict[str, Any] = {}

    # ---- the course of an answer -----------------------------------------------------------------------------------

    def frames(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
        return framed(pieces, self._take)

    def whole(self, pieces: list[Piece]) -> dict[str, Any]:
        for piece in pieces:
            self._take(piece)
        return self._response

    def _take(self, piece: Piece) -> bytes:
        said = self.feed(piece.chunk)
        return said if piece.search is None else said + b"".join(self._search(piece.search))

    def feed(self, chunk: Chunk) -> bytes:
        frames = [] if self._has_begun else self._begin()
        if chunk.thinking:
            frames += self._thinking(chunk.thinking)
        if chunk.text or (chunk.logprobs and self._is_open("message")):
            frames += self._said(chunk.text, chunk.logprobs)
        for call in chunk.tool_calls:
            frames += self._call(call)
        if chunk.done:
            frames += self._finish(chunk)
        return b"".join(frames)

    def late_error(self, error: PunaError) -> bytes:
        frames = [] if self._has_begun else self._begin()
        frames += self._close("failed" if self._is_open("web_search_call") else "incomplete")
        told = {"code": code_of(error) or "server_error", "message": str(error)}
        self._response = self._object("failed", usage=None, error=told)
        return b"".join([*frames, self._event("response.failed", response=self._response)])

    def _begin(self) -> list[bytes]:
        self._has_begun = True
        started = self._object("in_progress", usage=None)
        return [self._event(f"response.{step}", response=started) for step in ("created", "in_progress")]

    def _finish(self, chunk: Chunk) -> list[bytes]:
        is_cut = chunk.reason == "length"
        frames = [] if self._output or self._open else self._begin_message()  # an answer of nothing is one empty text
        frames += self._close("incomplete" if is_cut else "completed")
        details = {"reason": "max_output_tokens"} if is_cut else None
        status = "incomplete" if is_cut else "completed"
        self._response = self._object(status, usage=chunk.usage or Usage(), details=details)
        self._keep(self._response)  # before the client can ask for it
        return [*frames, self._event(f"response.{status}", response=self._response)]

    # ---- thoughts and text -----------------------------------------------------------------------------------------

    def _thinking(self, text: str) -> list[bytes]:
        frames: list[bytes] = []
        if not self._is_open("reasoning"):
            frames += self._close("completed")
            frames += self._opened({"id": new_id("rs_"), "type": "reasoning", "summary": [], "status": "in_progress"})
            part = {"type": "summary_text", "text": ""}
            frames.append(self._at("response.reasoning_summary_part.added", summary_index=0, part=part))
        self._text += text
        return [*frames, self._at("response.reasoning_summary_text.delta", summary_index=0, delta=text)]

    def _said(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> list[bytes]:
        frames: list[bytes] = []
        if not self._is_open("message"):
            frames += self._close("completed")
            frames += self._begin_message()
        entries = logprob_entries(logprobs)
        self._text += text
        self._logprobs += entries
        return [*frames, self._at("response.output_text.delta", content_index=0, delta=text, logprobs=entries)]

    def _begin_message(self) -> list[bytes]:
        item = {"id": new_id("msg_"), "type": "message", "status": "in_progress", "role": "assistant", "content": []}
        opened = self._opened(item)
        return [*opened, self._at("response.content_part.added", content_index=0, part=_text_part("", []))]

    # ---- calls -----------------------------------------------------------------------------------------------------

    def _call(self, call: ToolCall) -> list[bytes]:
        frames = self._close("completed")
        meant = self._asked.offer.meant_by(call.function.name)
        is_custom = meant.kind == "custom"
        member = INPUT if is_custom else "arguments"
        value = str(call.function.arguments.get(INPUT, "")) if is_custom else arguments_text(call)
        named = {"call_id": new_id("call_"), "name": meant.name, member: ""}
        if meant.namespace:
            named["namespace"] = meant.namespace
        kind = "custom_tool_call" if is_custom else "function_call"
        item = {"id": new_id("ctc_" if is_custom else "fc_"), "type": kind, "status": "in_progress", **named}
        frames += self._opened(item)
        step = "response.custom_tool_call_input" if is_custom else "response.function_call_arguments"
        frames.append(self._at(f"{step}.delta", delta=value))
        frames.append(self._at(f"{step}.done", **{member: value}, **({} if is_custom else {"name": meant.name})))
        self._open = {**item, member: value}
        return [*frames, *self._close("completed")]

    # ---- searches --------------------------------------------------------------------------------------------------

    def _search(self, step: SearchStep) -> list[bytes]:
        """The item is there while the search runs. One that fails ends the response, so it is closed elsewhere."""
        if step.results is None or self._open is None:
            frames = self._close("completed")
            identifier = f"ws_{self._id.removeprefix('resp_')}_{step.number}"
            action = {"type": "search", "query": step.query}
            item = {"id": identifier, "type": "web_search_call", "status": "in_progress", "action": action}
            frames += self._opened(item)
            return [*frames, *(self._at(f"response.web_search_call.{state}") for state in ("in_progress", "searching"))]
        if self._asked.tells_sources:
            sources = [{"type": "url", "url": result.url} for result in step.results]
            self._open = {**self._open, "action": {**self._open["action"], "sources": sources}}
        return [self._at("response.web_search_call.completed"), *self._close("completed")]

    # ---- items -----------------------------------------------------------------------------------------------------

    def _is_open(self, kind: str) -> bool:
        return self._open is not None and self._open["type"] == kind

    def _opened(self, item: Item) -> list[bytes]:
        self._open, self._text, self._logprobs = item, "", []
        return [self._event("response.output_item.added", output_index=len(self._output), item=item)]

    def _close(self, status: str) -> list[bytes]:
        """The events that end the open item, if there is one."""
        item = self._open
        if item is None:
            return []
        frames: list[bytes] = []
        item = {**item, "status": status}
        if item["type"] == "reasoning":
            part = {"type": "summary_text", "text": self._text}
            frames.append(self._at("response.reasoning_summary_text.done", summary_index=0, text=self._text))
            frames.append(self._at("response.reasoning_summary_part.done", summary_index=0, part=part))
            # Not secret: what clients send back as it is becomes the thought of the next request.
            item |= {"summary": [part], "encrypted_content": self._text}
        elif item["type"] == "message":
            part = _text_part(self._text, self._logprobs)
            done = {"content_index": 0, "text": self._text, "logprobs": self._logprobs}
            frames.append(self._at("response.output_text.done", **done))
            frames.append(self._at("response.content_part.done", content_index=0, part=part))
            item |= {"content": [part]}
        frames.append(self._event("response.output_item.done", output_index=len(self._output), item=item))
        self._output.append(item)
        self._open = None
        return frames

    # ---- frames ----------------------------------------------------------------------------------------------------

    def _at(self, kind: str, **members: Any) -> bytes:
        """An event of the open item."""
        identifier = self._open["id"] if self._open else ""
        return self._event(kind, item_id=identifier, output_index=len(self._output), **members)

    def _event(self, kind: str, **members: Any) -> bytes:
        frame = event_frame({"type": kind, "sequence_number": self._sequence, **members})
        self._sequence += 1
        return frame

    def _object(
        self,
        status: str,
        *,
        usage: Usage | None,
        details: dict[str, str] | None = None,
        error: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_at,
            "completed_at": now() if usage is not None else None,
            "status": status,
            "incomplete_details": details,
            "model": self._asked.generation.model,
            "output": list(self._output),
            "error": error,
            "usage": None if usage is None else _usage(usage),
            **self._asked.echo,
        }


def _text_part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.eval_tokens,
        "total_tokens": usage.prompt_tokens + usage.eval_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
    }
