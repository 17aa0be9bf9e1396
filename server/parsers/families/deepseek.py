"""DeepSeek V3.1 and Cogito: calls between marks, several in one block."""

from __future__ import annotations

import re
from typing import Any

from server.parsers import json_text
from server.parsers.families.opening import THINK_TAGS, Opening
from server.parsers.sections import Call, SectionParser, Sections, State

CALLS = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
CALL = ("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>")
SEPARATOR = "<｜tool▁sep｜>"
OUTPUT = ("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>")
OUTPUTS = ("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>")
VISIBLE = ("</think>", *CALLS, *CALL, SEPARATOR, *OUTPUT)
_CALL = re.compile(f"{CALL[0]}(.*?){CALL[1]}", re.DOTALL)
_FENCED = re.compile(r"\s*```json\n(.*)\n```\s*", re.DOTALL)


def read_deepseek(body: str) -> list[Call]:
    """The calls that can be read; the others are left out."""
    found = (_named(name, arguments) for name, arguments in _parts(body))
    return [call for call in found if call]


def read_cogito(body: str) -> list[Call]:
    """`function`, the name on the first line and the arguments in a fence."""
    calls: list[Call] = []
    for _, rest in _parts(body):
        name, newline, fenced = rest.partition("\n")
        match = _FENCED.fullmatch(fenced)
        call = _named(name, match[1]) if newline and match else None
        if call:
            calls.append(call)
    return calls


def _parts(body: str) -> list[tuple[str, str]]:
    pieces = (match[1].partition(SEPARATOR) for match in _CALL.finditer(body))
    return [(left, right) for left, separator, right in pieces if separator]


def _named(name: str, arguments: str) -> Call | None:
    try:
        value: Any = json_text.read(arguments)
    except ValueError:
        return None
    return (name.strip(), value) if isinstance(value, dict) and name.strip() else None


DEEPSEEK = Sections(
    read=read_deepseek,
    call_tags=CALLS,
    opening="",
    calls_end_thoughts=False,
    keeps_end=True,
    bare_tags=OUTPUT,
    on_bad="skip",
)
COGITO = Sections(
    read=read_cogito, call_tags=CALLS, opening="", calls_end_thoughts=False, hidden_tags=OUTPUTS, on_bad="skip"
)


def start_deepseek(opening: Opening) -> SectionParser:
    return SectionParser(DEEPSEEK, _state(opening))


def start_cogito(opening: Opening) -> SectionParser:
    """With tools it does not think unless the prompt has opened a thought."""
    is_asked = not opening.tools or opening.prompt.rstrip().endswith(THINK_TAGS[0])
    return SectionParser(COGITO, _state(opening) if is_asked else "content")


def _state(opening: Opening) -> State:
    return "thinking" if opening.begins_with_thought(False) else "content"
