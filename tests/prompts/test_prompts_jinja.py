"""The chat templates of GGUF files: what they see, and what they must not do."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from server.errors import InvalidTemplate, PunaError
from server.messages.chat import Message, ToolCall, ToolFunction
from server.prompts import jinja, sandbox

CHAT = [Message(role="system", content="S"), Message(role="user", content="U")]


def render(text: str, messages: list[Message] | None = None, **given: Any) -> str:
    return jinja.compile(text).render(CHAT if messages is None else messages, **given)


def test_template_of_models_without_one() -> None:
    rendered = render(jinja.CHATML)
    assert rendered == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"


def test_blocks_are_trimmed() -> None:
    text = "{% for m in messages %}\n    {% if true %}\n{{ m.role }}\n  {% endif %}\n{% endfor %}\n"
    assert render(text) == "system\nuser\n"


def test_exception_of_the_template() -> None:
    """templates 35"""
    with pytest.raises(PunaError, match="roles must alternate") as caught:
        render("{{ raise_exception('roles must alternate') }}")
    assert caught.value.status == 500


def test_no_way_out() -> None:
    """templates 36"""
    ways_out = "{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{% include 'x' %}", "{{ cycler.__init__.x }}"
    for text in ways_out:
        with pytest.raises(PunaError):
            render(text)


def test_tojson() -> None:
    """templates 37"""
    text = "{{ {'a': '<é>&', 'b': [1, 2.0, none, true]} | tojson }}"
    assert render(text) == '{"a": "<é>&", "b": [1, 2.0, null, true]}'
    assert render("{{ [1] | tojson(indent=2) }}") == "[\n  1\n]"


def test_think_reaches_the_template() -> None:
    """templates 38"""
    text = "{{ enable_thinking is defined }} {{ enable_thinking }} {{ reasoning_effort }}"
    assert render(text) == "False  "
    assert render(text, think=False) == "True False "
    assert render(text, think=True) == "True True "
    assert render(text, think="high") == "True True high"


def test_system_text_moves_where_it_is_refused() -> None:
    """templates 39"""
    text = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    assert render(text) == "<user>S\n\nU"
    with pytest.raises(PunaError, match="no system role"):
        render(text, [CHAT[0]])


def test_calls_in_history() -> None:
    """templates 40"""
    call = ToolCall(id="1", function=ToolFunction(name="f", arguments={"b": 1, "a": "é"}))
    history = [
        Message(role="assistant", thinking="hm", tool_calls=(call,)),
        Message(role="tool", content="R", tool_name="f", tool_call_id="1"),
    ]
    text = (
        "{% for m in messages %}{{ m.reasoning_content }}{% for c in m.tool_calls %}{{ c.id }}{{ c.type }}"
        "{{ c.function.name }}{{ c.function.arguments | tojson }}{{ c.function.arguments is mapping }}{% endfor %}"
        "{{ m.name }}{{ m.tool_call_id }}{{ m.get('tool_calls') is none }}|{% endfor %}"
    )
    assert render(text, history) == 'hm1functionf{"b": 1, "a": "é"}TrueFalse|f1True|'


def test_tools_are_passed_unchanged_or_none() -> None:
    tool = {"type": "function", "function": {"name": "f", "x-extra": [1]}}
    assert render("{% if tools %}{{ tools[0] | tojson }}{% endif %}", tools=[tool]) == (
        '{"type": "function", "function": {"name": "f", "x-extra": [1]}}'
    )
    assert render("{{ tools is none }}{{ bos_token }}{{ eos_token }}", tools=[], bos_text="<s>", eos_text="</s>") == (
        "True<s></s>"
    )


def test_loop_controls_dates_and_training_marks() -> None:
    body = "{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}{{ i }}"
    text = f"{{% for i in range(5) %}}{body}{{% endfor %}}"
    assert render(text + "{% generation %}g{% endgeneration %}") == "02g"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", render("{{ strftime_now('%Y-%m-%d') }}"))


def test_a_template_that_cannot_be_read() -> None:
    for text in ("{% for %}", "{{ x", "{% if a %}", "x" * (jinja.MAX_SOURCE_CHARACTERS + 1)):
        with pytest.raises(PunaError):
            render(text)


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(100000000) %}x{% endfor %}",
        "{{ 'a' * 10**9 }}",
        "{{ 'a' | indent(1000000000) }}",
        "{{ 'a'.center(1000000000) }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ 9 ** 99999999 }}",
        "{% set n = namespace(v=9) %}{% for i in range(100) %}{% set n.v = n.v * n.v %}{% endfor %}{{ n.v }}",
        "{% set n = namespace(v='aa') %}{% for i in range(99) %}{% set n.v = n.v ~ n.v %}{% endfor %}{{ n.v }}",
        "{% set n = namespace(v='aa') %}{% for i in range(99) %}{% set n.v = n.v + n.v %}{% endfor %}{{ n.v }}",
        "{% set n = namespace(v=[1]) %}{% for i in range(99) %}{% set n.v = [n.v, n.v] %}{% endfor %}{{ n.v == 1 }}",
        "{% set n = namespace(v={}) %}{% for i in range(99) %}{% set n.v = {1: n.v, 2: n.v} %}{% endfor %}{{ n.v }}",
        "{% set n = namespace(v=(1,)) %}{% for i in range(99) %}{% set n.v = n.v + n.v %}{% endfor %}{{ n.v }}",
        "{% set s = 'a' * 100000 %}{{ s.replace('a', s) }}",
        "{% set s = 'a' * 100000 %}{{ s | replace('a', s) }}",
        "{% set s = 'a' * 100000 %}{{ [s] * 9999 | join }}{{ ([s] * 9999) | join }}",
        "{% set s = 'a' * 100000 %}{{ s.join([s] * 9999) }}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% for i in range(1000000) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}",
        "{{ lipsum(1000000) }}",
        "{{ dict.mro() }}",
        "{{ ('\\t' * 250000).expandtabs(10000) }}",
        "{{ ('\\n' * 250000) | indent('x' * 10000) }}",
        "{{ [[1], [2]] | sum(start=[]) }}",
        "{{ ([1] * 100000) | tojson(separators=('x' * 1000, ':')) }}",
    ],
)
def test_bounds(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(PunaError):
        render(text)
    assert time.monotonic() - started < 30


def test_reading_takes_its_time_too() -> None:
    text = "{% set a = (b ~ c)[1:] %}" * 20000
    environment = sandbox.BoundedEnvironment()
    with pytest.raises(sandbox.TooCostly, match=r"not done after 0\.1 seconds"):
        sandbox.run(sandbox.Budget(0.1), lambda: environment.from_string(text))


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(1000000) %}{% for j in range(1000000) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for i in range(1000000) %}{{ range(100000) | list | sort | length }}{% endfor %}",
        "{% set s = 'ab' * 100000 %}{% set a = range(1000000) | map('string') | select('in', s ~ s) | list %}",
    ],
)
def test_time_limit(text: str) -> None:
    template = jinja.compile(text)
    budget = sandbox.Budget(0.2)
    started = time.monotonic()
    with pytest.raises(sandbox.TooCostly, match=r"not done after 0\.2 seconds"):
        sandbox.run(budget, lambda: template.environment_template.render(messages=[]))
    assert time.monotonic() - started < 10


TAKES_TURNS = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"
)


def test_neighbours_of_one_role_are_joined_where_a_template_insists_on_turns() -> None:
    """An answer that was cut off leaves two questions in a row; the conversation goes on all the same."""
    messages = [Message(role="user", content="one"), Message(role="user", content="two")]
    assert jinja.compile(TAKES_TURNS).render(messages) == "<user>one\n\ntwo"


def test_joined_and_folded_where_a_template_wants_both() -> None:
    messages = [Message(role=role, content=role) for role in ("system", "user", "user", "assistant", "user")]
    assert jinja.compile(TAKES_TURNS).render(messages) == "<user>system\n\nuser\n\nuser<assistant>assistant<user>user"


def test_a_template_that_refuses_every_form_gives_its_first_reason() -> None:
    with pytest.raises(InvalidTemplate, match="never"):
        jinja.compile("{{ raise_exception('never') }}").render([Message(role="user", content="x")])
