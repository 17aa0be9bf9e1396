"""Which grammar a request gets, by its format, its tools and the model's template."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.errors import InvalidRequest, Unsupported
from server.inference.structure import grammar_of
from server.messages.chat import GenerationRequest, Message
from server.messages.frames import Grammar
from server.prompts.selection import TemplateChoice, TemplateFacts, select

HERMES = "{% for m in messages %}<tool_call>{{ tools }}</tool_call>{% endfor %}"
THINKING = HERMES + "<think></think>"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"place": {"$ref": "#/$defs/place"}},
            "$defs": {"place": {"enum": ["here", "there"]}},
        },
    },
}


def _native(jinja: str) -> TemplateChoice:
    return select(TemplateFacts(jinja_text=jinja))


def _parsed(parser: str) -> TemplateChoice:
    return select(TemplateFacts(parser=parser, renderer="", go_text="{{ .Prompt }}"))


def _grammar(choice: TemplateChoice, prompt: str = "", **more: Any) -> Grammar | None:
    messages = more.pop("messages", (Message(role="user", content="x"),))
    request = GenerationRequest(model="m", is_chat=True, messages=messages, **{"format": '"json"', **more})
    return grammar_of(request, choice, prompt)


@pytest.mark.parametrize("text", ["", "null", '""', " null "])
def test_no_format(text: str) -> None:
    assert _grammar(_native(""), format=text) is None


@pytest.mark.parametrize("text", ['"JSON"', "[1]", "5", "true", '"{}"'])
def test_no_such_format(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid format"):
        _grammar(_native(""), format=text)


def test_json_and_schemas_as_they_came() -> None:
    assert _grammar(_native("")) == Grammar(kind="json_object")
    source = '{"properties": {"b": {}, "a": {}}}'
    assert _grammar(_native(""), format=source) == Grammar(kind="json_schema", source=source)


@pytest.mark.parametrize(
    ("prompt", "opening"),
    [("<|user|>x<|assistant|>", "<think>"), ("<|assistant|><think>\n", ""), ("…</think>\n\n", "<think>")],
)
def test_thoughts_by_the_words_of_the_template(prompt: str, opening: str) -> None:
    found = _grammar(_native(THINKING), prompt, think=True)
    assert found is not None
    assert (found.opening, found.after, found.bridge) == (opening, ("</think>",), "</think>")


def test_thoughts_of_families() -> None:
    thinks = {"think": True}
    expected = {
        "qwen3-thinking": ("", ("</think>",)), "deepseek3": ("", ("</think>",)), "olmo3-think": ("", ("</think>",)),
        "gemma4": ("<|channel>", ("<channel|>",)), "lfm2-thinking": ("<think>", ("</think>",)), "qwen3": ("", ()),
        "ministral": ("[THINK]", ("[/THINK]",)), "cohere": ("", ("<|START_RESPONSE|>", "<|START_TEXT|>")),
    }  # fmt: skip
    for parser, (opening, after) in expected.items():
        found = _grammar(_parsed(parser), **thinks)
        assert found is not None
        assert (parser, found.opening, found.after) == (parser, opening, after)
    off = _grammar(_parsed("deepseek3"), think=False)
    assert off == Grammar(kind="json_object")
    begun = (Message(role="user", content="x"), Message(role="assistant", content="{"))
    assert _grammar(_parsed("qwen3-thinking"), messages=begun, **thinks) == Grammar(kind="json_object")


def test_harmony_begins_in_its_final_channel() -> None:
    found = _grammar(_parsed("harmony"), think=True)
    assert found is not None
    assert found.after[0] == "<|channel|>final<|message|>"
    assert found.bridge.endswith(found.after[0])
    called = _grammar(_parsed("harmony"), think=True, tools=(WEATHER,))
    assert called is not None
    assert called.bridge == ""  # a call ends the answer before any final channel


def test_a_demanded_call_has_the_syntax_of_the_template() -> None:
    found = _grammar(_native(HERMES), format="", tools=(WEATHER,), must_call=True)
    assert found is not None
    assert (found.before, found.behind) == ("<tool_call>\n", "\n</tool_call>")
    [call] = json.loads(found.source)["anyOf"]
    assert call["properties"]["name"] == {"const": "weather"}
    assert call["required"] == ["name", "arguments"]
    place = call["properties"]["arguments"]["properties"]["place"]
    assert place == {"$ref": "#/anyOf/0/properties/arguments/$defs/place"}


def test_mistral_calls_are_a_list() -> None:
    found = _grammar(_native("[TOOL_CALLS]"), format="", tools=(WEATHER,), must_call=True)
    assert found is not None
    assert (found.before, found.behind) == ("[TOOL_CALLS] [", "]")


def test_a_call_that_is_no_json_cannot_be_demanded() -> None:
    with pytest.raises(Unsupported, match="tool_choice"):
        _grammar(_parsed("qwen3-coder"), format="", tools=(WEATHER,), must_call=True)


def test_tools_stay_possible_beside_a_format() -> None:
    found = _grammar(_native(HERMES), tools=(WEATHER,))
    assert found is not None
    assert found.unless == ("<tool_call>",)


def test_the_end_of_a_renderers_prompt_decides() -> None:
    """What the parser takes for a thought is not constrained, and what it takes for content is."""
    begun = (Message(role="user", content="x"), Message(role="assistant", content="It is"))
    for parser, prompt, expected in (
        ("nemotron-3-nano", "It is<|im_end|>\n<|im_start|>assistant\n<think>\n", ("", ("</think>",))),
        ("nemotron-3-nano", "<|im_start|>assistant\n<think></think>", ("", ())),
        ("qwen3.5", "<|im_start|>assistant\n<think>\n\n</think>\n\nIt is", ("", ())),
        ("gemma4", "<tool_response|><|channel>thought\n", ("", ("<channel|>",))),
        ("gemma4", "<|turn>model\n", ("<|channel>", ("<channel|>",))),
        ("cohere", "<|END_THINKING|><|START_TEXT|>", ("", ())),
    ):
        messages = begun if "It is" in prompt else begun[:1]
        found = _grammar(_parsed(parser), prompt, think=True, messages=messages)
        assert found is not None
        assert (found.opening, found.after) == expected, (parser, prompt)
