"""LFM 2: calls as Python writes them, in a list."""

from __future__ import annotations

import msgspec

from server.parsers.families.opening import Opening
from server.parsers.python_calls import CallReader
from server.parsers.sections import Call, SectionParser, Sections, is_begun, thinks

CALL_TAGS = ("<|tool_call_start|>", "<|tool_call_end|>")
VISIBLE = ("<think>", "</think>", *CALL_TAGS)


def read(body: str) -> list[Call]:
    """A repeated opening tag means nothing."""
    return CallReader(body.replace(CALL_TAGS[0], ""), unescapes=False).calls()


CALLS = Sections(read=read, call_tags=CALL_TAGS, calls_end_thoughts=False, on_bad="text", keeps_end=True)
AFTER_THOUGHTS = msgspec.structs.replace(CALLS, skips_lead=True)


def start_lfm2(opening: Opening) -> SectionParser:
    return SectionParser(CALLS)


def start_lfm2_thinking(opening: Opening) -> SectionParser:
    may_think = thinks(opening.think, False) and not is_begun(opening.last)
    return SectionParser(AFTER_THOUGHTS, "either") if may_think else SectionParser(CALLS)
