"""An answer on the screen: text, thinking, tool calls, timings."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from server.cli.frame import say
from server.cli.wrapping import WrappingWriter, terminal_width
from server.errors import PunaError
from server.messages.durations import format_duration

GREY, BOLD_GREY, RESET = "\x1b[90m", "\x1b[1m\x1b[90m", "\x1b[0m"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """How answers are shown."""

    wordwrap: bool = True
    hide_thinking: bool = False
    verbose: bool = False

    def for_request(self, fields: dict[str, Any]) -> View:
        """Some models think whatever they are told; who said no to it does not want to read it."""
        return msgspec.structs.replace(self, hide_thinking=True) if fields.get("think") is False else self


class Answered(msgspec.Struct, kw_only=True):
    """What came: the texts, and the last object of the stream with its counts."""

    content: str = ""
    thinking: str = ""
    tool_calls: list[Any] = []
    last: dict[str, Any] = {}


def show_answer(chunks: Iterable[dict[str, Any]], view: View, answered: Answered | None = None) -> Answered:
    """Write an answer as it comes. `answered` is filled as it goes, so that it is there when Ctrl+C ends it."""
    answered = answered or Answered()
    is_terminal = sys.stdout.isatty()
    writer = WrappingWriter(sys.stdout, terminal_width(sys.stdout) if view.wordwrap else 0)
    thinking = _ThinkingView(writer, is_terminal)
    try:
        for chunk in chunks:
            _show_chunk(chunk, view, writer, thinking, answered)
    except (PunaError, KeyboardInterrupt):
        if is_terminal and (answered.content or answered.thinking):
            # What is said next begins on a line of its own, in the terminal's own colour.
            sys.stdout.write(RESET + "\n")
            sys.stdout.flush()
        raise
    thinking.end()
    return answered


def _show_chunk(
    chunk: dict[str, Any], view: View, writer: WrappingWriter, thinking: _ThinkingView, answered: Answered
) -> None:
    """Kept first, then written: Ctrl+C may come between the two, and what is on the screen must be known."""
    message = chunk.get("message") or chunk
    thought = str(message.get("thinking") or "")
    answered.thinking += thought
    if thought and not view.hide_thinking:
        thinking.write(thought)
    if text := str(message.get("content") or message.get("response") or ""):
        answered.content += text
        thinking.end()
        writer.write(text)
    for call in message.get("tool_calls") or ():
        thinking.end()
        writer.write(_tool_call_text(call))
        answered.tool_calls.append(call)
    if chunk.get("done"):
        answered.last = chunk


class _ThinkingView:
    """Thoughts between two marks, grey on a terminal."""

    def __init__(self, writer: WrappingWriter, is_terminal: bool) -> None:
        self._writer = writer
        self._is_terminal = is_terminal
        self._is_open = False
        self._ends_line = True

    def write(self, text: str) -> None:
        if not self._is_open:
            self._is_open = True
            self._mark("Thinking...")
            self._colour(GREY)
        self._writer.write(text)
        self._ends_line = text.endswith("\n")

    def end(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._colour(RESET)
        if not self._ends_line:
            self._writer.write("\n")
        self._mark("...done thinking.")
        self._writer.write("\n")

    def _mark(self, text: str) -> None:
        self._colour(BOLD_GREY)
        self._writer.write(text)
        self._colour(RESET)
        self._writer.write("\n")

    def _colour(self, sequence: str) -> None:
        """Past the writer, which counts columns."""
        if self._is_terminal:
            sys.stdout.write(sequence)


def _tool_call_text(call: dict[str, Any]) -> str:
    function = call.get("function") or {}
    arguments = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
    return f"  Model called a non-existent function '{function.get('name', '')}()' with arguments: {arguments}\n"


def show_timings(last: dict[str, Any]) -> None:
    """The counts of an answer's last object, on standard error; those that are 0 are left out."""
    rows = [
        ("total duration", _duration(last, "total_duration")),
        ("load duration", _duration(last, "load_duration")),
        ("prompt eval count", _tokens(last, "prompt_eval_count")),
        ("prompt eval duration", _duration(last, "prompt_eval_duration")),
        ("prompt eval rate", _rate(last, "prompt_eval")),
        ("eval count", _tokens(last, "eval_count")),
        ("eval duration", _duration(last, "eval_duration")),
        ("eval rate", _rate(last, "eval")),
    ]
    for name, text in rows:
        if text:
            say(f"{name + ':':<21} {text}")


def _number(last: dict[str, Any], key: str) -> int:
    value = last.get(key)
    return int(value) if isinstance(value, (int, float)) else 0


def _duration(last: dict[str, Any], key: str) -> str:
    nanoseconds = _number(last, key)
    return format_duration(nanoseconds) if nanoseconds > 0 else ""


def _tokens(last: dict[str, Any], key: str) -> str:
    number = _number(last, key)
    return f"{number} token(s)" if number > 0 else ""


def _rate(last: dict[str, Any], key: str) -> str:
    number, nanoseconds = _number(last, f"{key}_count"), _number(last, f"{key}_duration")
    return f"{number / (nanoseconds / 1e9):.2f} tokens/s" if number > 0 and nanoseconds > 0 else ""
