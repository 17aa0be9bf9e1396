"""FunctionGemma: `call:NAME{key:<escape>text<escape>,other:2}`."""

from __future__ import annotations

import re
from typing import Any

from server.parsers.families.opening import Opening
from server.parsers.python_calls import bare_value
from server.parsers.sections import BadCall, Call, SectionParser, Sections

CALL_TAGS = ("<start_function_call>", "<end_function_call>")
ESCAPE = "<escape>"
MAX_DEPTH = 64
_CALL = re.compile(r"call:([^{]*)\{(.*)\}", re.DOTALL)


def start(opening: Opening) -> SectionParser:
    return SectionParser(SECTIONS)


def read(body: str) -> list[Call]:
    match = _CALL.search(body)
    if match is None or not match[1].strip():
        raise BadCall("no call:NAME{…}")
    return [(match[1].strip(), mapping(match[2], 0))]


def mapping(text: str, depth: int) -> dict[str, Any]:
    items: dict[str, Any] = {}
    for part in parts(text):
        key, colon, value = part.partition(":")
        if not colon:
            raise BadCall(f"no value for {part!r}")
        items[key.strip().replace(ESCAPE, "")] = read_value(value.strip(), depth)
    return items


def read_value(text: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise BadCall("values within values too deep")
    if text.startswith(ESCAPE):
        is_closed = len(text) >= 2 * len(ESCAPE) and text.endswith(ESCAPE)
        return text[len(ESCAPE) : -len(ESCAPE)] if is_closed else text
    if text.startswith("[") and text.endswith("]"):
        return [read_value(part.strip(), depth + 1) for part in parts(text[1:-1])]
    if text.startswith("{") and text.endswith("}"):
        return mapping(text[1:-1], depth + 1)
    return bare_value(text)


def parts(text: str) -> list[str]:
    """The text cut at commas that are in no bracket and in no escaped text; blank parts left out."""
    found: list[str] = []
    start = depth = 0
    is_escaped = False
    for match in re.finditer(f"{ESCAPE}|[\\[\\]{{}},]", text):
        if match[0] == ESCAPE:
            is_escaped = not is_escaped
        elif is_escaped:
            continue
        elif match[0] in "[{":
            depth += 1
        elif match[0] in "]}":
            depth -= 1
        elif depth == 0:
            found.append(text[start : match.start()])
            start = match.end()
    return [part for part in (*found, text[start:]) if part.strip()]


SECTIONS = Sections(read=read, call_tags=CALL_TAGS, trims_content=False, on_bad="skip")
