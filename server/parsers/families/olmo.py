"""Olmo 3: calls as Python writes them, one per line; or thoughts and no calls."""

from __future__ import annotations

import msgspec

from server.parsers.families.opening import Opening
from server.parsers.python_calls import CallReader
from server.parsers.sections import Call, SectionParser, Sections

CALL_TAGS = ("<function_calls>", "</function_calls>")


def read(body: str) -> list[Call]:
    return CallReader(body, unescapes=True).calls() if body.strip() else []


CALLS = Sections(read=read, call_tags=CALL_TAGS, trims_content=False, on_bad="text")
THOUGHTS = Sections(read=read, call_tags=CALL_TAGS, opening="", calls_end_thoughts=False, trims_content=False)


def start_olmo3(opening: Opening) -> SectionParser:
    return SectionParser(CALLS)


def start_olmo3_think(opening: Opening) -> SectionParser:
    """Whatever is asked for, it thinks."""
    thinks = msgspec.structs.replace(opening, think=True).begins_with_thought(True)
    return SectionParser(THOUGHTS, "thinking" if thinks else "content")
