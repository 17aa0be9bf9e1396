"""What the recordings do not show of the template language: bounds, tags, messages of errors."""

from __future__ import annotations

import contextlib
import datetime
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidTemplate
from server.messages.chat import Message
from server.prompts.gotemplate import parse

USER = [Message(role="user", content="U")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ if }}", "missing value for if"),
        ("a {{", "template: :1: unclosed action"),
        ("{{ if .X }}", "template: :1: unexpected EOF"),
        ("{{ end }}", "template: :1: unexpected {{end}}"),
        ("\n\n{{ foo }}", 'template: :3: function "foo" not defined'),
        ("{{ break }}", "template: :1: {{break}} outside {{range}}"),
        ("{{/* x", "template: :1: unclosed comment"),
        ('{{ define "x" }}{{ end }}{{ template "x" }}', "undefined template specified"),
        ("{{ if 1 }}" * 101 + "{{ end }}" * 101, "nested more than 100 deep"),
        ("(" * 3 + "{{ " + "(" * 101 + "1" + ")" * 101 + " }}", "nested more than 100 deep"),
        ("x" * (256 * 1024 + 1), "longer than 262144 bytes"),
    ],
)
def test_refused_when_read(text: str, words: str) -> None:
    with pytest.raises(InvalidTemplate) as caught:
        parse(text)
    assert words in str(caught.value)
    assert caught.value.status == 400


def test_errors_name_the_place() -> None:
    """templates 23"""
    with pytest.raises(InvalidTemplate) as caught:
        parse("{{ range .Messages }}\n  {{ .Foo }}{{ end }}").render(USER)
    assert str(caught.value).startswith('template: :2:5: executing "" at <.Foo>: can\'t evaluate field Foo in type')
    assert caught.value.status == 500
    assert parse("{{ .Messages | len }}{{ .Foo }}").render(USER) == "1<no value>"


@pytest.mark.parametrize(
    "text",
    [
        "{{ range 100000000 }}x{{ end }}{{ .Messages }}",
        "{{ range 10000 }}{{ range 10000 }}{{ end }}{{ end }}{{ .Messages }}",
        '{{ $s := "xxxxxxxxxxxxxxxx" }}{{ range 100 }}{{ $s = print $s $s }}{{ end }}{{ .Messages }}',
        '{{ range 100000 }}{{ printf "%100000d" 1 }}{{ end }}{{ .Messages }}',
        '{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}{{ .Messages }}',
        '{{ define "x" }}{{ template "x" . }}{{ template "x" . }}{{ end }}{{ template "x" . }}{{ .Messages }}',
    ],
)
def test_rendering_is_bounded(text: str) -> None:
    """templates 32"""
    template = parse(text)
    started = time.monotonic()
    with pytest.raises(InvalidTemplate):
        template.render(USER)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (
            "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end }}",
            ("<think>", "</think>"),
        ),
        (
            "{{ range .Messages }}{{ if .Thinking }}\n<|r|>\n{{ .Thinking }}\n<|/r|>\n{{ end }}{{ end }}",
            ("<|r|>", "<|/r|>"),
        ),
        ("{{ range .Messages }}<a>{{ .Thinking }}<b>{{ end }}", ("<a>", "<b>")),
        ("{{ if .Thinking }}<a>{{ .Thinking }}<b>{{ end }}", None),
        (
            "{{ range $i, $m := .Messages }}{{ if $m.Thinking }}<t>{{ $m.Thinking }}</t>{{ end }}{{ end }}",
            None,
        ),
        (
            "{{ range $i, $_ := slice .Messages 1 }}{{ if .Thinking }}<t>{{ .Thinking }}</t>{{ end }}{{ end }}",
            ("<t>", "</t>"),
        ),
    ],
)
def test_thinking_tags(text: str, tags: tuple[str, str] | None) -> None:
    """templates 66: 10.3"""
    assert parse(text).thinking_tags == tags


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ('{{ if .ToolCalls }}<tool_call>\n{{ range .ToolCalls }}{"name": {{ end }}{{ end }}', "<tool_call>"),
        (
            "{{ if .Content }}x{{ else if .ToolCalls }}[TOOL_CALLS] [{{ range .ToolCalls }}{ {{ end }}{{ end }}",
            "[TOOL_CALLS] [",
        ),
        ('{{ if .ToolCalls }}{{ range .ToolCalls }}{"name": {{ end }}{{ end }}', "{"),
        ("{{ range .ToolCalls }}<x>{{ end }}", "{"),
        ("{{ with .ToolCalls }}<y>{{ end }}{{ if and .Content .ToolCalls }}<z>{{ end }}", "<z>"),
        ("{{ if gt (len .ToolCalls) 0 }}<q>{{ end }}", "{"),
        ("{{ if .ToolCalls }}{{ .Content }}<w>{{ end }}", "{"),
        ("{{ range .Messages }}{{ if $.ToolCalls }}<v>{{ end }}{{ end }}", "{"),
        ("{{ if .ToolCalls }}\r\n  a\r\nb {{ end }}", "a\nb"),
    ],
)
def test_tool_tags(text: str, tag: str) -> None:
    """templates 66: 9.1"""
    assert parse(text).tool_tag == tag


def test_dates() -> None:
    """templates 29"""
    today = datetime.date.today()
    rendered = parse('{{ .Messages | len }} {{ currentDate }} {{ currentDate "x" }} {{ yesterdayDate }}').render(USER)
    yesterday = today - datetime.timedelta(days=1)
    assert rendered == f"1 {today.isoformat()} {today.isoformat()} {yesterday.isoformat()}"


@given(st.text(alphabet='{}-. \n$"`()|=:,/*%abif0x19rangeMessagesendelsewithtemplatedefineblockprintf', max_size=60))
def test_any_text_renders_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidTemplate):
        parse(text).render(USER)


@given(st.lists(st.sampled_from([
    "{{ ", " }}", "{{- ", " -}}", "if ", "range ", "with ", "else ", "end ", ".Messages ", "$x ", ":= ", "= ", "(", ")",
    "| ", "len ", "index ", "slice ", "printf ", '"%d" ', "0 ", "-1 ", ".Role ", "text", "define ", '"t" ', "template ",
    "json ", "break ", "nil ", "eq ", "and ", "not ",
]), max_size=25))  # fmt: skip
def test_any_words_render_or_are_refused(words: list[str]) -> None:
    with contextlib.suppress(InvalidTemplate):
        parse("".join(words)).render(USER)
