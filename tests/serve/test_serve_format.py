"""Structured answers through the whole server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.client import Client
from server.errors import PunaError

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"items": {"type": "string"}}},
    "required": ["name", "age", "tags"],
}
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
THINKS = (
    "{{ range .Messages }}<|{{ .Role }}|>{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}"
    "<|end|>\n{{ end }}<|assistant|>{{ range .Messages }}{{ .Content }}{{ end }}"
)
CALLS = (
    "{{ if .Tools }}{{ .Tools }}{{ end }}{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}"
    '{{ if .ToolCalls }}<tool_call>\n{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": '
    "{{ .Function.Arguments }}}{{ end }}\n</tool_call>{{ end }}<|end|>\n{{ end }}<|assistant|>"
    "{{ range .Messages }}{{ .Content }}{{ end }}"
)
LIVELY = {"temperature": 1.5, "seed": 1, "num_predict": 900}


@pytest.fixture
def models_of_all_kinds(client: Client) -> Client:
    for name, template in (("thinker", THINKS), ("caller", CALLS)):
        with client.create({"model": name, "from": "bare", "template": template}) as progress:
            assert list(progress)[-1] == {"status": "success"}
    return client


def _generate(client: Client, **body: Any) -> dict[str, Any]:
    with client.generate({"model": "m", "raw": True, "stream": False, **body}) as pieces:
        [answer] = list(pieces)
    return answer


def _chat(client: Client, word: str, **body: Any) -> dict[str, Any]:
    with client.chat({"messages": [{"role": "user", "content": word}], "stream": False, **body}) as pieces:
        [answer] = list(pieces)
    return dict(answer["message"])


def test_json_and_schemas(client: Client) -> None:
    """native-api 143, 144, 145."""
    whole = {"name": "Ada", "age": 36, "tags": ["x", "y"]}
    assert json.loads(_generate(client, prompt="JSON", format="json")["response"]) == whole
    assert json.loads(_generate(client, prompt="JSON", format=PERSON)["response"]) == whole
    held = _generate(client, prompt="SKY", format=COLOUR, options=LIVELY)
    assert json.loads(held["response"])["colour"] in ("red", "blue")
    for none in ("", None):
        assert _generate(client, prompt="SKY", format=none)["response"].startswith("The sky")


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_no_format(client: Client, stream: bool) -> None:
    """native-api 146, 147, 148, 206: the recorded sentences, with 400 as the golden examples ask for."""
    for sent, shown in (("xml", r"\"xml\""), ([1], "[1]"), (True, "true"), ("ü\n", r"\"ü\\n\"")):
        with pytest.raises(PunaError) as caught:
            _generate(client, prompt="SKY", format=sent, stream=stream)
        assert caught.value.status == 400
        assert str(caught.value) == f'invalid format: "{shown}"; expected "json" or a valid JSON Schema object'
    assert _generate(client, prompt="", format="xml")["done_reason"] == "load"


def test_a_schema_that_cannot_be_enforced_is_refused_with_the_reason(client: Client) -> None:
    with pytest.raises(PunaError, match="uniqueItems") as caught:
        _generate(client, prompt="SKY", format={"type": "array", "uniqueItems": True})
    assert caught.value.status == 400


def test_thinking_models_think_first(models_of_all_kinds: Client) -> None:
    """native-api 204, 205."""
    client = models_of_all_kinds
    answer = _chat(client, "THINK", model="thinker", format=COLOUR, options=LIVELY)
    assert answer["thinking"].strip() == "The user asks why."
    assert json.loads(answer["content"])["colour"] in ("red", "blue")
    answer = _chat(client, "THINK", model="thinker", format=COLOUR, options=LIVELY, think=False)
    assert "thinking" not in answer
    assert json.loads(answer["content"])["colour"] in ("red", "blue")
    assert json.loads(_chat(client, "JSON", model="thinker", format=PERSON)["content"])["age"] == 36


def test_a_format_does_not_stand_in_the_way_of_a_call(models_of_all_kinds: Client) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    answer = _chat(models_of_all_kinds, "TOOL", model="caller", format=COLOUR, tools=[tool], options=LIVELY)
    assert answer["tool_calls"][0]["function"]["arguments"] == {"city": "Paris"}
