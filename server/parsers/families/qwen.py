"""Qwen: calls as JSON (qwen3, qwen3-vl) or as tagged parameters (qwen3-coder, qwen3.5; Nemotron writes so too)."""

from __future__ import annotations

import re
from typing import Any

from server.parsers import json_text
from server.parsers.families.opening import Opening
from server.parsers.sections import BadCall, Call, SectionParser, Sections
from server.parsers.typed_values import Types, declared_types, typed

CALL_TAGS = ("<tool_call>", "</tool_call>")
VISIBLE = ("<think>", "</think>", *CALL_TAGS)
_FUNCTION = re.compile(r"<function=([^>]*)>")
_PARAMETER = re.compile(r"<parameter=([^>]*)>")


def read_json(body: str) -> list[Call]:
    try:
        return [json_text.read_call(body)]
    except ValueError as error:
        raise BadCall(str(error)) from None


def read_named_json(body: str) -> list[Call]:
    """A call without a name is none."""
    try:
        return read_json(body)
    except BadCall as error:
        if str(error) == json_text.NO_NAME:
            return []
        raise


VL_CALLS = Sections(read=read_named_json, call_tags=CALL_TAGS)
JSON_CALLS = Sections(read=read_json, call_tags=CALL_TAGS)


def start_qwen3(opening: Opening) -> SectionParser:
    return SectionParser(JSON_CALLS)


def start_qwen3_thinking(opening: Opening) -> SectionParser:
    return SectionParser(JSON_CALLS, "lead" if opening.begins_with_thought(True) else "content")


def start_vl_instruct(opening: Opening) -> SectionParser:
    return SectionParser(VL_CALLS)


def start_vl_thinking(opening: Opening) -> SectionParser:
    return SectionParser(VL_CALLS, "thinking" if opening.begins_with_thought(True) else "content")


def start_coder(opening: Opening) -> SectionParser:
    return SectionParser(_tagged(opening))


def start_qwen35(opening: Opening) -> SectionParser:
    return SectionParser(_tagged(opening), "lead" if opening.begins_with_thought(True) else "content")


def _tagged(opening: Opening) -> Sections:
    types = declared_types(opening.tools)
    return Sections(read=lambda body: read_tagged(body, types), call_tags=CALL_TAGS)


def read_tagged(body: str, types: Types) -> list[Call]:
    """`<function=NAME>` with `<parameter=KEY>` … `</parameter>` inside, several in one body where the model does so."""
    calls: list[Call] = []
    at = 0
    while match := _FUNCTION.search(body, at):
        name = match[1]
        if not name:
            raise BadCall("empty function name")
        arguments, at = _parameters(body, match.end(), types.get(name, {}))
        calls.append((name, arguments))
    if not calls:
        raise BadCall("a call without <function=…>")
    return calls


def _parameters(body: str, at: int, types: dict[str, tuple[str, ...]]) -> tuple[dict[str, Any], int]:
    """The parameters from `at` on, and where their function ends."""
    arguments: dict[str, Any] = {}
    while True:
        match = _PARAMETER.search(body, at)
        end = body.find("</function>", at)
        if match is None or (0 <= end < match.start()):
            if end < 0 or "</parameter>" in body[at:end]:
                raise BadCall("a <function> whose tags do not fit together")
            return arguments, end + len("</function>")
        close = body.find("</parameter>", match.end())
        if close < 0:
            raise BadCall("a <parameter> that is not closed")
        arguments[match[1]] = typed(_inner(body[match.end() : close]), types.get(match[1], ()))
        at = close + len("</parameter>")


def _inner(text: str) -> str:
    """The text without one line break at each end."""
    text = text.replace("\r\n", "\n")
    return text.removeprefix("\n").removesuffix("\n")
