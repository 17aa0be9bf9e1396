"""Any text, cut anywhere, gives the same."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.parsers import AnswerParser
from server.parsers.base import Forgiving
from server.parsers.families import FAMILIES, Opening
from server.parsers.sections import SectionParser
from server.parsers.thinking import ThinkingParser
from server.parsers.tools import ToolCallParser
from tests.parsers import recorded

TOOLS = tuple(recorded.DATA["toolsets"]["harbour"])
WORDS = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "{", "}", "[", "]", '"', "\\", ":", ",", " ", "\n", "text",
    '{"name": "ring_bell", "arguments": {}}', '{"name": "tide_table", "parameters": {"port": "}"}}', "tide_table",
    "<function=tide_table>", "<parameter=port>", "</parameter>", "</function>", "<arg_key>port</arg_key>",
    "<arg_value>", "</arg_value>", "[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]",
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<|eom|>", "<|eot|>", " to=ring_bell", " to=self",
    "<atem:function_calls>", "</atem:function_calls>", '<atem:invoke name="ring_bell">', "</atem:invoke>",
    '<atem:parameter name="x">', "</atem:parameter>",
    "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<function_calls>", "</function_calls>",
    "ring_bell()", 'tide_table(port="x")', "<start_function_call>", "<end_function_call>", "call:tide_table{port:",
    "<escape>", "<|channel>", "<channel|>", "thought\n", "<|tool_call>", "<tool_call|>", '<|"|>', "<|tool_call_start|>",
    "<|tool_call_end|>", "<|START_TEXT|>", "<|END_TEXT|>", "<|START_ACTION|>", "<|END_ACTION|>", "<|END_THINKING|>",
    "<|channel|>", "<|message|>", "<|end|>", "<|start|>", "assistant", "analysis", "final", "commentary",
    "to=functions.ring_bell", "<|constrain|>json", "<|call|>", "<", "<|", "é",
]  # fmt: skip
texts = st.lists(st.sampled_from(WORDS), max_size=12).map("".join)


def check(make: object, text: str, cuts: list[int]) -> recorded.Result:
    assert callable(make)
    bounds = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(bounds)]
    whole, letters, cut = (recorded.fed(make(), way) for way in ([text], list(text), pieces))
    assert whole == letters == cut
    return whole


@pytest.mark.parametrize("name", sorted(FAMILIES))
@given(text=texts, cuts=st.lists(st.integers(0, 200), max_size=4), think=st.sampled_from([None, True, False]))
@settings(max_examples=40, deadline=None)
def test_families(name: str, text: str, cuts: list[int], think: bool | None) -> None:
    def start() -> AnswerParser:
        return FAMILIES[name].start(Opening(think=think, tools=TOOLS))

    check(start, text, cuts)
    assert "error" not in check(lambda: Forgiving(start()), text, cuts)


@given(text=texts, cuts=st.lists(st.integers(0, 200), max_size=4))
@settings(max_examples=80, deadline=None)
def test_families_whose_texts_keep_their_end(text: str, cuts: list[int]) -> None:
    for name in ("qwen3", "qwen3-thinking", "glm-4.7"):
        opening = Opening(think=True, tools=TOOLS)
        parsers = (FAMILIES[name].start(opening) for _ in range(3))
        kept = (parser.keeping_text_end() for parser in parsers if isinstance(parser, SectionParser))
        check(lambda made=kept: next(made), text, cuts)


@pytest.mark.parametrize("tag", ["<tool_call>", "{", "[", "[TOOL_CALLS] [", "<|x|>"])
@given(text=texts, cuts=st.lists(st.integers(0, 200), max_size=4))
@settings(max_examples=80, deadline=None)
def test_generic_parser(tag: str, text: str, cuts: list[int]) -> None:
    check(lambda: ToolCallParser(tag, TOOLS), text, cuts)


@given(text=texts, cuts=st.lists(st.integers(0, 200), max_size=4), primed=st.booleans())
@settings(max_examples=80, deadline=None)
def test_thoughts(text: str, cuts: list[int], primed: bool) -> None:
    check(lambda: ThinkingParser("<think>", "</think>", primed), text, cuts)


@given(text=texts)
@settings(max_examples=60, deadline=None)
def test_nothing_but_tags_is_lost_without_tools(text: str) -> None:
    parser: AnswerParser = ToolCallParser("<tool_call>", ())
    assert recorded.fed(parser, list(text)).get("content", "") == text
