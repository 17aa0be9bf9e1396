"""Which parser reads an answer."""

from __future__ import annotations

import re
from typing import Any

import pytest

from server.errors import InvalidAnswer
from server.messages.chat import Message, Think
from server.parsers import Parsed
from server.parsers.choose import Reading, call_id, choose, marked_parser
from server.parsers.families import FAMILIES, Opening
from server.prompts.selection import PARSER_ABILITIES, TemplateFacts, select
from tests.parsers import recorded

TOOLS = [{"type": "function", "function": {"name": "get_weather"}}, {"type": "function", "function": {"name": "get"}}]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "P"}}\n</tool_call>'
GO = (
    "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}"
    "{{ if .ToolCalls }}<tool_call>{{ range .ToolCalls }}{ {{ end }}{{ end }}{{ $.Tools }}{{ end }}"
)
SCRIPTED = "{{ tools }}<tool_call>{% if not enable_thinking %}<think></think>{% endif %}"


def reading(
    prompt: str = "", think: Think = None, tools: Any = (), last: Message | None = None, **facts: Any
) -> Reading:
    numbers = iter(range(100))
    choice = select(TemplateFacts(**facts))
    return choose(choice, prompt=prompt, think=think, tools=tools, last=last, make_id=lambda: f"id{next(numbers)}")


def read(text: str, **given: Any) -> dict[str, Any]:
    return recorded.fed(reading(**given).parser, list(text))


def test_go_template() -> None:
    """templates 67-70, 73"""
    text = f"<think>\nhm\n</think>\n\nLook. {CALL}"
    call = {"id": "id0", "name": "get_weather", "arguments": {"city": "P"}}
    assert read(text, go_text=GO, think=True, tools=TOOLS) == {
        "content": "Look. ",
        "thinking": "hm\n",
        "calls": [call],
    }
    assert read(text, go_text=GO, think=False, tools=TOOLS) == {
        "content": "<think>\nhm\n</think>\n\nLook. ",
        "calls": [call],
    }
    assert read(text, go_text=GO, think=True) == {"content": f"Look. {CALL}", "thinking": "hm\n"}
    assert reading(go_text=GO, think=True, tools=TOOLS).visible == ("<think>", "</think>", "<tool_call>")
    assert reading(go_text=GO, think=False).visible == ()


def test_space_before_a_call_in_a_template_of_the_weights() -> None:
    """It belongs to the text where there is one, as the reference's engine has it; alone it is nothing."""
    given = {"jinja_text": SCRIPTED, "tools": TOOLS}
    assert read(f"Look.\n{CALL}\n{CALL}\n", **given)["content"] == "Look.\n"
    assert "content" not in read(f"\n\n{CALL}", **given)
    assert read(f"<think>hm</think>\n\n{CALL}", **given)["calls"][0]["name"] == "get_weather"
    assert "content" not in read(f"<think>hm</think>\n\n{CALL}", **given)


def test_prompt_that_opened_the_thought() -> None:
    """templates 72"""
    assert read("hm</think>Hi", go_text=GO, think=True, prompt="…<think>\n") == {"content": "Hi", "thinking": "hm"}
    assert read("hm</think>Hi", jinja_text="<think></think>", prompt="…<think>") == {"content": "Hi", "thinking": "hm"}


def test_named_parsers() -> None:
    """templates 2, 8, 71"""
    assert read(f"x {CALL}", parser="qwen3", tools=TOOLS)["content"] == "x"
    assert read("plan</think>Hi", parser="qwen3-thinking", think=True) == {"content": "Hi", "thinking": "plan"}
    assert read(f"Hi {CALL}", parser="passthrough", go_text=GO, tools=TOOLS)["content"] == "Hi "
    assert read(CALL, parser="nobody", go_text=GO, tools=TOOLS)["calls"][0]["name"] == "get_weather"
    assert reading(parser="qwen3").visible == FAMILIES["qwen3"].visible


def test_native_models() -> None:
    assert read(f"<think>hm</think>\n{CALL}", jinja_text=SCRIPTED, think=True, tools=TOOLS)["thinking"] == "hm"
    assert read("<think>\nhm</think>\n\nHi", jinja_text=SCRIPTED, think=True) == {"content": "Hi", "thinking": "hm"}
    assert read("The sky.", jinja_text=SCRIPTED, think=True) == {"content": "The sky."}
    assert read("The sky.", jinja_text=SCRIPTED, think=True, tools=TOOLS) == {"content": "The sky."}
    opened = read("hm</think>Hi", jinja_text=SCRIPTED, tools=TOOLS, prompt="<think>")
    assert opened == {"content": "Hi", "thinking": "hm"}
    assert read(f"{CALL}", jinja_text=SCRIPTED) == {"content": CALL}
    assert read(f"{CALL}", jinja_text="{{ tools }}") == {"content": CALL}
    assert read('{"name": "get", "parameters": {}}', jinja_text="{{ tools }}", tools=TOOLS)["calls"][0]["name"] == "get"
    assert read('[TOOL_CALLS][{"name": "get"}]', jinja_text="[TOOL_CALLS]", tools=TOOLS)["calls"][0]["name"] == "get"


@pytest.mark.parametrize(
    ("words", "parser"),
    [
        ("<|channel|> <|message|>", "harmony"),
        ("<|tool_call> <|channel>", "gemma4"),
        ("<start_function_call>", "functiongemma"),
        ("<tool_call> <function= <think>", "qwen3.5"),
        ("<tool_call> <function=", "qwen3-coder"),
        ("<tool_call> <arg_key> <think>", "glm-4.7"),
        ("<tool_call> <think>", "qwen3-thinking"),
        ("<tool_call>", "qwen3"),
        ("[TOOL_CALLS] [ARGS]", "ministral"),
        ("[TOOL_CALLS]", ""),
        ("<｜tool▁calls▁begin｜> ```json", "cogito"),
        ("<｜tool▁calls▁begin｜>", "deepseek3"),
        ("<|START_ACTION|>", "cohere"),
        ("<|tool_call_start|> <think>", "lfm2-thinking"),
        ("<|tool_call_start|>", "lfm2"),
        ("<function_calls>", "olmo3"),
        ("<|python_tag|>", ""),
    ],
)
def test_words_of_native_templates(words: str, parser: str) -> None:
    assert marked_parser(words) == parser


def test_ids() -> None:
    """templates 77"""
    assert all(re.fullmatch(r"call_[a-z0-9]{8}", call_id()) for _ in range(20))
    assert len({call_id() for _ in range(50)}) == 50
    two = read(CALL * 2, parser="qwen3", tools=TOOLS)["calls"]
    assert [call["id"] for call in two] == ["id0", "id1"]


def test_broken_calls() -> None:
    """templates 52"""
    parser = FAMILIES["qwen3"].start(Opening(tools=tuple(TOOLS)))
    assert parser.feed("So: <tool_call>{broken}</tool_call>") == Parsed("So:")
    with pytest.raises(InvalidAnswer, match="failed to parse JSON"):
        parser.feed(" more")


BROKEN = {
    "qwen3": f"<tool_call>{{broken}}</tool_call>{CALL}",
    "qwen3-vl-thinking": f"<tool_call>[1]</tool_call>{CALL}",
    "qwen3-coder": "<tool_call><function=get></tool_call>"
    "<tool_call><function=get_weather><parameter=city>P</parameter></function></tool_call>",
    "glm-4.7": "<tool_call>get<arg_key></arg_key></tool_call><tool_call>get_weather<arg_key>city</arg_key>"
    "<arg_value>P</arg_value></tool_call>",
    "laguna": f'<tool_call>get {{"a":}}</tool_call>{CALL}',
    "ministral": '[TOOL_CALLS]get[ARGS]{"a":}[TOOL_CALLS]get_weather[ARGS]{"city": "P"}',
    "harmony": "<|channel|>commentary to=functions.get<|message|>{oops<|call|><|start|>assistant<|channel|>commentary "
    'to=functions.get_weather<|message|>{"city": "P"}<|call|>',
    "glimmer": " to=get<|message|>oops<|eom|><|start|>assistant to=get_weather<|message|><atem:function_calls>\n"
    '<atem:invoke name="get_weather">\n<atem:parameter name="city">P</atem:parameter>\n</atem:invoke>\n'
    "</atem:function_calls><|eot|>",
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_call_is_text_and_the_answer_goes_on(name: str) -> None:
    last = Message(role="assistant", content="x") if name == "qwen3-vl-thinking" else None
    whole = recorded.fed(reading(parser=name, tools=TOOLS, think=False, last=last).parser, [BROKEN[name]])
    letters = recorded.fed(reading(parser=name, tools=TOOLS, think=False, last=last).parser, list(BROKEN[name]))
    assert whole == letters
    assert [call["arguments"] for call in whole.get("calls", ())][-1:] == [{"city": "P"}], whole
    if name != "glm-4.7":  # which repairs what it can
        assert whole["content"].strip(), whole


def test_a_broken_call_at_the_end_is_text() -> None:
    """templates 57"""
    required = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["a"]}}}
    text = "<tool_call>f<arg_key>b</arg_key><arg_value>1</arg_value>"
    parser = FAMILIES["glm-4.7"].start(Opening(tools=(required,), think=False))
    parser.feed(text)
    with pytest.raises(InvalidAnswer, match='required argument "a" is missing for tool "f"'):
        parser.flush()
    assert read(text, parser="glm-4.7", think=False, tools=[required]) == {"content": text}
    for text in ('<tool_call>{"name": "f"}</tool_call> So.', "Use <tool_call>two words</tool_call> then."):
        assert read(text, parser="glm-4.7", think=False, tools=[required]) == {"content": text}
    harmony = "<|channel|>commentary to=functions.get<|message|>{oops"
    assert read(harmony, parser="harmony", tools=TOOLS) == {"content": "{oops"}


def test_the_end_of_the_prompt_tells_whether_a_thought_has_begun() -> None:
    begun = Message(role="assistant", content="It is")
    for name in ("nemotron-3-nano", "cogito", "olmo3-think", "qwen3.5", "deepseek3", "laguna"):
        assert read("hm</think>so", parser=name, think=True, last=begun, prompt="…<think>\n") == {
            "content": "so",
            "thinking": "hm",
        }, name
        assert read("so", parser=name, think=True, prompt="…<think>\n\n</think>\n\n") == {"content": "so"}, name
        assert read("so", parser=name, think=True, last=begun, prompt="…It is") == {"content": "so"}, name
    thought = Message(role="assistant", thinking="hm")
    assert read("so", parser="cohere", think=True, last=thought, prompt="<|END_THINKING|><|START_TEXT|>") == {
        "content": "so"
    }
    assert read("hm</think>so", parser="cogito", think=True, tools=TOOLS, prompt="<think>\n")["thinking"] == "hm"


def test_an_answer_the_client_began_is_no_thought() -> None:
    begun = Message(role="assistant", content="It is")
    assert read(" so.", parser="qwen3-thinking", think=True, last=begun) == {"content": " so."}


def test_both_tables_know_the_same_of_parsers() -> None:
    for name, family in FAMILIES.items():
        assert PARSER_ABILITIES[name] == (family.calls, family.thinks)
