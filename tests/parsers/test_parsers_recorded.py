"""Every recorded output gives what it should, whatever way it is cut."""

from __future__ import annotations

import pytest

from server.parsers import AnswerParser
from server.parsers.families import FAMILIES, Opening
from server.parsers.thinking import ThinkingParser
from server.parsers.tools import ToolCallParser
from server.prompts.gotemplate import parse
from tests.parsers import recorded

# Cases without a note in which we differ on purpose, and why.
OURS = {
    "cogito/call-text-call": "text between two blocks of calls is kept",
    "cogito/two-blocks": "text between two blocks of calls is kept",
    "deepseek3/call-text-call": "text between two blocks of calls is kept",
    "deepseek3/two-blocks": "text between two blocks of calls is kept",
    "functiongemma/args-nested": "an empty list stays an empty list",
    "functiongemma/body-spaces": "spaces round names and keys do not belong to them",
    "lfm2/py-semicolon": "a semicolon is no part of a name",
    "lfm2-thinking/py-semicolon": "a semicolon is no part of a name",
    "olmo3/py-unbalanced": "a list without an end makes no call",
    # At the door of the server a broken call is text, and the white space in front of it stays.
    "laguna/malformed": "white space in front of a tag is dropped before a broken call too",
    "poolside-v1/malformed": "white space in front of a tag is dropped before a broken call too",
}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_recorded_outputs_of_families(name: str) -> None:
    """templates 51-65, 74, 76"""
    cases = [case for case in recorded.CASES if case.get("parser") == name]
    assert cases
    for case in cases:
        opening = Opening(think=case.get("think"), tools=recorded.tools_of(case), last=recorded.last_of(case))

        def start(opening: Opening = opening) -> AnswerParser:
            return FAMILIES[name].start(opening)

        got = recorded.results(case, start)
        if case["id"] in OURS:
            assert not recorded.is_same(got, case), case["id"]
            continue
        if recorded.is_free(case):
            continue
        assert recorded.is_same(got, case), (case["id"], case["text"], got)
        if "error" not in case["result"]:
            assert recorded.keys_of(got) == recorded.keys_of(case.get("better", case["result"])), case["id"]


def test_recorded_outputs_of_the_generic_parser() -> None:
    """templates 66-71"""
    for case in recorded.CASES:
        if case.get("generic") != "tools":
            continue
        tag = parse(recorded.DATA["templates"]["tools"][case["template"]]).tool_tag
        assert tag == case["tag"]

        def start(tag: str = tag, tools: tuple[dict[str, object], ...] = recorded.tools_of(case)) -> AnswerParser:
            return ToolCallParser(tag, tools)

        got = recorded.results(case, start)
        assert recorded.is_free(case) or recorded.is_same(got, case), (case["id"], got)


def test_recorded_thoughts_between_tags() -> None:
    """templates 66, 72"""
    for case in recorded.CASES:
        if case.get("generic") != "thinking":
            continue
        tags = parse(recorded.DATA["templates"]["thinking"][case["template"]]).thinking_tags
        assert (tags or ("", "")) == tuple(case["tags"])
        if tags is None:
            continue

        def start(tags: tuple[str, str] = tags, primed: bool = case.get("primed", False)) -> AnswerParser:
            return ThinkingParser(*tags, primed=primed)

        got = recorded.results(case, start)
        assert recorded.is_free(case) or recorded.is_same(got, case), (case["id"], got)


def test_the_table_says_what_the_recordings_say() -> None:
    for name, said in recorded.DATA["parsers"].items():
        family = FAMILIES.get(name)
        if family:
            assert (family.calls, family.thinks) == (said["tools"], said["thinking"]), name
            assert set(family.visible) >= set(said["preserved"]), name
