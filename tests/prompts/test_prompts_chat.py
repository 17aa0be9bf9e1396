"""The one door: chats and completions of both modes."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from server.errors import PunaError
from server.messages.chat import GenerationRequest, Message, ToolCall, ToolFunction
from server.prompts import chat, images
from server.prompts.selection import TemplateChoice, TemplateFacts, select

pytestmark = pytest.mark.anyio

GO = "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}"
JINJA = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
USER = Message(role="user", content="U")


def choice(**facts: Any) -> TemplateChoice:
    return select(TemplateFacts(**facts))


async def count(text: str, cuts: tuple[int, ...] = ()) -> int:
    return len(text)


WINDOW = chat.Window(context_tokens=1000, count_tokens=count)


async def completion(given: TemplateChoice, prompt: str = "P", **request: Any) -> str:
    own = {name: request.pop(name) for name in ("system_of_model", "stored", "context_text") if name in request}
    made = await chat.fit_completion(
        given,
        GenerationRequest(model="m", is_chat=False, prompt=prompt, **request),
        WINDOW,
        system=own.get("system_of_model", ""),
        stored=own.get("stored", ()),
        context_text=own.get("context_text", ""),
    )
    return made.shown.text


def test_each_mode_its_template() -> None:
    assert chat.render(choice(go_text=GO), [USER]) == "<user>U"
    assert chat.render(choice(jinja_text=JINJA), [USER]) == "<user>U<assistant>"
    assert chat.render(choice(), [USER]) == "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"


def test_an_answer_that_the_client_began() -> None:
    begun = [USER, Message(role="assistant", content="It is", thinking="hm")]
    assert chat.render(choice(jinja_text=JINJA), begun) == "<user>U<assistant>It is"
    assert chat.render(choice(jinja_text=JINJA + "<think>{{ '\\n' }}"), begun) == (
        "<user>U<assistant><think>\nhm\n</think>\n\nIt is"
    )
    called = Message(role="assistant", tool_calls=(ToolCall(function=ToolFunction(name="f")),))
    assert chat.render(choice(jinja_text=JINJA), [USER, called]) == "<user>U<assistant><assistant>"


def test_a_renderer_goes_before_all_templates() -> None:
    """templates 1, 43"""
    with pytest.raises(PunaError, match='unknown renderer "x"'):
        chat.render(choice(renderer="x", jinja_text=JINJA), [USER])
    expected = "[gMASK]<sop><|user|>U<|assistant|><think>"
    for templates in ({}, {"jinja_text": JINJA}, {"go_text": GO}, {"jinja_text": JINJA, "go_text": GO}):
        assert chat.render(choice(renderer="glm-4.7", **templates), [USER], think=True) == expected


async def test_a_renderer_makes_the_prompts_of_completions_too() -> None:
    assert await completion(choice(renderer="glm-4.7"), system="S", think=False) == (
        "[gMASK]<sop><|system|>S<|user|>P<|assistant|><think>"
    )
    assert await completion(choice(renderer="glm-4.7"), template="[{{ .Prompt }}]") == "[P]"
    assert await completion(choice(renderer="glm-4.7"), raw=True) == "P"


def test_tool_names_of_harmony() -> None:
    """templates 75"""
    text = (
        "<|start|>{{ range .Tools }}{{ .Function.Name }} {{ end }}{{ range .Messages }}"
        "{{ range .ToolCalls }}({{ .Function.Name }}){{ end }}{{ .ToolName }}{{ end }}<|end|>"
    )
    tools = [{"type": "function", "function": {"name": name}} for name in ("my-tool.v2", "a-b", "a.b", "7s", "???")]
    history = [
        Message(role="assistant", tool_calls=(ToolCall(function=ToolFunction(name="a.b")),)),
        Message(role="tool", tool_name="a.b"),
    ]
    rendered = chat.render(choice(family="gptoss", go_text=text), history, tools)
    assert rendered == "<|start|>my_tool_v2 a_b a_b_2 _7s unnamed (a_b_2)a_b_2<|end|>"


@pytest.mark.parametrize(
    ("content", "count", "has_renderer", "expected"),
    [
        ("look", 1, False, "[img-0]look"),
        ("look", 1, True, "[img-0] look"),
        (" look", 1, True, "[img-0] look"),
        ("", 2, True, "[img-0][img-1]"),
        ("a [img] b", 2, False, "[img-1]a [img-0] b"),
        ("see [img-0]", 1, True, "see [img-0]"),
    ],
)
def test_places_of_images(content: str, count: int, has_renderer: bool, expected: str) -> None:
    """templates 18, 19"""
    messages = [Message(role="user", content=content, images=(b"x",) * count), Message(role="user", images=(b"y",))]
    marked, total = images.mark(messages, has_renderer=has_renderer)
    assert [one.content for one in marked] == [expected, f"[img-{count}]"]
    assert total == count + 1


def test_one_image_for_mllama() -> None:
    with pytest.raises(PunaError, match="only supports one image"):
        images.mark([Message(role="user", images=(b"x", b"y"))], family="mllama")


async def test_a_chat_that_fits_after_dropping() -> None:
    messages = [Message(role="user", content="a" * 40, images=(b"x",)), Message(role="user", content="b")]
    small = chat.Window(context_tokens=30, count_tokens=count)
    made = await chat.fit_chat(choice(go_text=GO), messages, small)
    assert (made.text, made.dropped, made.image_count) == ("<user>b", 1, 0)
    whole = chat.Window(context_tokens=30, count_tokens=count, truncate=False)
    made = await chat.fit_chat(choice(go_text=GO), messages, whole)
    shown = (made.shown.text, made.dropped, made.image_count)
    assert shown == ("<user>[img-0]" + "a" * 40 + "<user>b", 0, 1)


async def test_completions() -> None:
    """native-api 6.8, templates 31"""
    go = choice(go_text="{{ if .Suffix }}{{ .Suffix }}/{{ .Prompt }}{{ else }}{{ .System }}({{ .Prompt }}){{ end }}")
    assert await completion(go, raw=True, system="S") == "P"
    assert await completion(go, suffix="T", system="S") == "T/P"
    own = "<{{ .Prompt }}|{{ .Suffix }}|{{ .System }}>"
    assert await completion(go, suffix="T", template=own) == "<P|T|<no value>>"
    assert await completion(go, system="S", template="{{ .System }}[{{ .Prompt }}]") == "S[P]"
    assert await completion(go) == "(P)"
    assert await completion(go, system_of_model="M") == "M(P)"
    assert await completion(go, system="S", system_of_model="M") == "S(P)"


async def test_completions_as_a_chat() -> None:
    stored = (Message(role="user", content="a"), Message(role="assistant", content="b"))
    assert await completion(choice(jinja_text=JINJA), stored=stored, system="S") == (
        "<system>S<user>a<assistant>b<user>P<assistant>"
    )
    after = await completion(choice(jinja_text=JINJA), stored=stored, context_text="before ")
    assert after == "before <user>P<assistant>"
    assert await completion(choice(go_text=GO), images=(b"x",)) == "<user>[img-0]P"


async def test_completions_without_any_template() -> None:
    assert await completion(choice()) == "P"
    assert await completion(choice(), system="S") == "S\n\nP"
    assert await completion(choice(), images=(b"x",)) == "[img-0]P"


def test_what_think_means() -> None:
    """templates 11"""
    shown = "{{ range .Messages }}{{ end }}{{ .Think }} {{ .ThinkLevel }} {{ .IsThinkSet }}"
    assert chat.render(choice(go_text=shown), [USER], think=True) == "true medium true"
    assert chat.render(choice(go_text=shown), [USER], think="high") == "true high true"


async def test_a_slow_template_holds_up_nobody_else() -> None:
    """Each template has one thread at most; those that requests bring share one."""
    slow, quick = choice(jinja_text=JINJA), choice(jinja_text=JINJA + " ")
    done: list[str] = []

    async def ask(name: str, given: TemplateChoice) -> None:
        await chat.fit_chat(given, [USER], WINDOW)
        done.append(name)

    async def complete(template: str) -> None:
        await completion(quick, template=template)
        done.append(template)

    async with anyio.create_task_group() as tasks, chat._turns(slow.source), chat._turns(""):
        tasks.start_soon(ask, "slow", slow)
        tasks.start_soon(complete, "{{ .Prompt }}")
        tasks.start_soon(complete, "{{ .Prompt }}!")
        await ask("quick", quick)
        assert done == ["quick"]
    assert sorted(done) == ["quick", "slow", "{{ .Prompt }}", "{{ .Prompt }}!"]


async def test_history_is_not_cut_where_the_template_refuses() -> None:
    """A template that wants a question in front, and one that wants a question at all."""
    turns = "{% for m in messages %}{{ m.content }}|{% endfor %}"
    strict = choice(jinja_text="{% if messages[0].role != 'user' %}{{ raise_exception('no') }}{% endif %}" + turns)
    talk = [Message(role=role, content=f"{role[0]}{number}") for number in range(8) for role in ("user", "assistant")]
    talk.append(Message(role="user", content="last"))
    for context in range(5, 60):
        window = chat.Window(context_tokens=context, count_tokens=count)
        made = await chat.fit_chat(strict, talk, window)
        assert made.messages[0].role == "user"
        assert len(made.text) <= context
        assert made.dropped == len(talk) - len(made.messages)
        if made.dropped:
            assert len(made.text) + len("u0|a0|") > context
    qwen = choice(renderer="qwen3.8")
    asked = [USER, Message(role="assistant", content="x" * 500), Message(role="assistant", content="y")]
    made = await chat.fit_chat(qwen, asked, chat.Window(context_tokens=10, count_tokens=count), think=False)
    assert made.text.startswith("<|im_start|>user\nU")  # longer than the context, which the engine says
