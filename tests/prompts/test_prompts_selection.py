"""Which template wins, and what a model can do."""

from __future__ import annotations

from typing import Any

import pytest

from server.prompts.selection import DEFAULT_GO_TEMPLATE, TemplateFacts, jinja_capabilities, select

GO_PLAIN = "{{ .System }}{{ .Prompt }}"
GO_TOOLS = "{{ range .Messages }}{{ .Tools }}{{ .ToolCalls }}{{ end }}"
GO_TRIP = '{{ range .Messages }}{{ if eq .Role "tool" }}{{ end }}{{ $.Tools }}{{ .ToolCalls }}{{ end }}'
GO_THINK = "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ end }}"
JINJA_TOOLS = "{{ tools }}"
JINJA_TRIP = "{{ tools }}{{ m.tool_calls }}{% if m['role'] == 'tool' %}"
JINJA_THINK = "<think></think>"


def winner(go_template: bool | None = None, **facts: Any) -> tuple[str, str]:
    choice = select(TemplateFacts(**facts), go_template)
    return choice.mode, choice.winner


def test_a_named_renderer_or_parser_decides() -> None:
    """templates 1, 2"""
    assert winner(renderer="qwen3.5", jinja_text=JINJA_TRIP) == ("rendered", "renderer")
    assert winner(parser="nobody", jinja_text=JINJA_TRIP) == ("rendered", "parser")
    assert winner(renderer="glm-4.7", parser="glm-4.7") == ("rendered", "renderer_parser")
    assert select(TemplateFacts(parser="nobody")).parser == ""
    assert select(TemplateFacts(parser="qwen3")).parser == "qwen3"


def test_nothing_but_the_template_of_the_weights() -> None:
    """templates 3"""
    assert winner(jinja_text=JINJA_TOOLS) == ("native", "gguf_chat_template")
    choice = select(TemplateFacts())
    assert (choice.mode, choice.winner, choice.go_text, choice.is_bare) == ("native", "none", DEFAULT_GO_TEMPLATE, True)


@pytest.mark.parametrize(
    ("go", "jinja", "expected"),
    [
        (GO_PLAIN, JINJA_TOOLS, "gguf_chat_template"),
        (GO_TRIP, JINJA_TOOLS + JINJA_THINK, "go_template"),
        (GO_TRIP, JINJA_TRIP + JINJA_THINK, "gguf_chat_template"),
        (GO_TOOLS, JINJA_TRIP, "gguf_chat_template"),
        (GO_TRIP, JINJA_TRIP, "go_template"),
        (GO_THINK, JINJA_THINK, "go_template"),
        (GO_PLAIN, "plain", "go_template"),
        (GO_PLAIN, "", "go_template"),
    ],
)
def test_the_richer_template_wins(go: str, jinja: str, expected: str) -> None:
    """templates 4, 5, 6"""
    assert winner(go_text=go, jinja_text=jinja)[1] == expected


def test_the_setting_decides_where_it_is_set() -> None:
    """templates 7"""
    assert winner(go_template=False, go_text=GO_TRIP, jinja_text=JINJA_TOOLS) == ("native", "gguf_chat_template")
    assert winner(go_template=True, go_text=GO_PLAIN, jinja_text=JINJA_TRIP) == ("rendered", "go_template")
    assert winner(go_template=True, jinja_text=JINJA_TRIP) == ("native", "gguf_chat_template")
    assert winner(go_template=False, parser="qwen3") == ("rendered", "parser")


def test_harmony() -> None:
    """templates 8, 9"""
    text = "{{ range .Messages }}<|start|>{{ .Content }}<|end|>{{ end }}"
    choice = select(TemplateFacts(family="gptoss", go_text=text, jinja_text=JINJA_TRIP + JINJA_THINK))
    assert (choice.mode, choice.winner, choice.parser, choice.is_harmony) == ("rendered", "harmony", "harmony", True)
    assert winner(family="gpt-oss", go_text=GO_PLAIN) == ("rendered", "go_template")
    assert not select(TemplateFacts(family="gpt-oss", go_text=GO_PLAIN)).is_harmony


def test_words_of_jinja_templates() -> None:
    assert jinja_capabilities("{{ tool_call }}") == ("tools",)
    assert jinja_capabilities("<think> </think>") == ("thinking",)
    assert jinja_capabilities("content.split('</think>')") == ("thinking",)
    assert jinja_capabilities('content.split("</think>") reasoning_content') == ()


@pytest.mark.parametrize(
    ("facts", "capabilities"),
    [
        ({}, ("completion",)),
        ({"has_pooling": True}, ("embedding",)),
        ({"has_gguf": False, "go_text": GO_TRIP}, ("tools",)),
        ({"jinja_text": JINJA_TRIP + JINJA_THINK}, ("tools", "thinking", "completion")),
        ({"go_text": GO_TRIP}, ("completion", "tools")),
        ({"go_text": "{{ .Prompt }}{{ .Suffix }}"}, ("completion", "insert")),
        ({"go_text": "{{ .Suffix }}", "jinja_text": JINJA_TRIP + JINJA_THINK}, ("tools", "thinking", "completion")),
        ({"vision_blocks": 2, "audio_blocks": 1}, ("completion", "vision", "audio")),
        ({"has_projector": True}, ("completion", "vision")),
        ({"has_projector": True, "audio_projector": True}, ("completion", "vision", "audio")),
        ({"audio_blocks": 1, "family": "nemotron_h_omni"}, ("completion",)),
        ({"parser": "qwen3-thinking"}, ("completion", "tools", "thinking")),
        ({"parser": "olmo3-think"}, ("completion", "thinking")),
        ({"family": "gptoss"}, ("completion", "thinking")),
        ({"config_capabilities": ("thinking", "completion")}, ("thinking", "completion")),
    ],
)
def test_capabilities(facts: dict[str, Any], capabilities: tuple[str, ...]) -> None:
    assert select(TemplateFacts(**facts)).capabilities == capabilities
