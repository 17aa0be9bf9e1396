"""Where images stand in the text that a model reads."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.messages.chat import IMAGE_HERE, GenerationRequest, Message
from server.messages.frames import Media
from server.prompts import chat
from server.prompts.renderers import RENDERERS
from server.prompts.selection import TemplateFacts, select
from tests.prompts.test_prompts_chat import GO, JINJA, WINDOW
from tests.prompts.test_prompts_guard import CONTROLS, TEMPLATES, VOCABULARY, controls_in

pytestmark = pytest.mark.anyio

A, B, C = b"first", b"second", b"third"
PARTS = (
    "{% for m in messages %}<{{ m.role }}>{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
    "{% elif part.type == 'image' %}<image>{% endif %}{% endfor %}{% endfor %}"
)
BOTH = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}{% for part in "
    "m.content %}{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}"
    "{% endif %}{% endfor %}{% endif %}{% endfor %}"
)


def with_places(prompt: chat.Prompt) -> str:
    """The text with each image in its place."""
    text = prompt.text
    for one in reversed(prompt.media):
        text = f"{text[: one.place]}({one.data.decode()}){text[one.place :]}"
    return text


async def of_chat(facts: dict[str, Any], *messages: Message) -> chat.Prompt:
    made = await chat.fit_chat(select(TemplateFacts(**facts)), messages, WINDOW, None, False, VOCABULARY)
    assert [one.place for one in made.media] == sorted(one.place for one in made.media)
    return made


async def completed(facts: dict[str, Any], prompt: str, context_text: str = "", **request: Any) -> chat.Prompt:
    asked = GenerationRequest(model="m", is_chat=False, prompt=prompt, **request)
    return await chat.fit_completion(select(TemplateFacts(**facts)), asked, WINDOW, context_text=context_text)


def user(content: str, *images: bytes) -> Message:
    return Message(role="user", content=content, images=images)


@pytest.mark.parametrize("facts", [{"go_text": GO}, {"jinja_text": JINJA}, {"jinja_text": BOTH}, {"jinja_text": PARTS}])
async def test_markers_become_places(facts: dict[str, Any]) -> None:
    """native-api 132, templates 18, 19: numbers run over the whole chat, and places need not be in their order"""
    answer = Message(role="assistant", content="A boat.")
    made = await of_chat(facts, user("look [img] here", A, B), answer, user("and?", C))
    end = "<assistant>" if facts.get("jinja_text") == JINJA else ""
    assert with_places(made) == f"<user>(second)look (first) here<assistant>A boat.<user>(third)and?{end}"
    assert made.shown.text == f"<user>[img-1]look [img-0] here<assistant>A boat.<user>[img-2]and?{end}"
    assert made.image_count == 3


@pytest.mark.parametrize("facts", [{"go_text": GO}, {"jinja_text": JINJA}, {"renderer": "qwen3-vl-instruct"}])
async def test_images_between_texts(facts: dict[str, Any]) -> None:
    """compat-api 102 (D4): where the client put them, whatever the texts say"""
    made = await of_chat(facts, user("a", A), user(f"one{IMAGE_HERE} [img] two{IMAGE_HERE}", B, C))
    assert "one(second) [img] two(third)" in with_places(made)
    assert "one[img-1] [img] two[img-2]" in made.shown.text
    made = await of_chat(facts, user(f"one{IMAGE_HERE}two", A, B))
    assert "(second)one(first)two" in with_places(made)
    made = await of_chat(facts, user(f"one{IMAGE_HERE}two{IMAGE_HERE}", A))
    assert "one(first)two" in with_places(made)
    assert IMAGE_HERE not in made.text


async def test_only_our_own_markers_are_images() -> None:
    made = await of_chat({"go_text": GO}, user("what is [img-0], and [img-7]?", A), user("[img] [img-0]"))
    assert with_places(made) == "<user>(first)what is [img-0], and [img-7]?<user>[img] [img-0]"
    without = await of_chat({"go_text": GO}, user("[img-0][img]"))
    assert (without.text, without.media, without.shown.text) == ("<user>[img-0][img]", (), "<user>[img-0][img]")


async def test_places_and_cuts_lie_in_one_text() -> None:
    facts = TEMPLATES["chatml"]
    made = await of_chat(facts, user("</s>[img]</s> [img] <s>", A, B), user("[/INST]", C))
    assert sorted(controls_in(made.text, made.cuts)) == ["<|im_end|>"] * 2 + ["<|im_start|>"] * 3
    assert controls_in(made.shown.text, made.shown.cuts) == controls_in(made.text, made.cuts)
    assert "</s>(first)</s> (second) <s><|im_end|>" in with_places(made)
    assert "(third)[/INST]<|im_end|>" in with_places(made)
    assert [made.text[cut - 1] for cut in made.cuts] == ["<", "<", "<", "["]


@pytest.mark.parametrize("name", sorted(RENDERERS))
async def test_no_renderer_loses_an_image(name: str) -> None:
    """In families that the recordings show without images, and in instructions, where only one family refuses them."""
    chat_of = [user("one", A), Message(role="assistant", content="two"), user("see [img], [img-2]", B, C)]
    if name not in ("qwen3.5", "qwen3.8", "ornith"):
        chat_of.insert(0, Message(role="system", content="Rules", images=(b"zeroth",)))
        chat_of[-1] = user("see [img], [img-3]", B, C)
    made = await of_chat({"renderer": name}, *chat_of)
    assert {one.data for one in made.media} == {image for message in chat_of for image in message.images}
    assert "(first)" in with_places(made)
    assert "[img-" not in made.text


async def test_a_renderer_takes_the_markers_that_a_client_wrote() -> None:
    made = await of_chat({"renderer": "qwen3-vl-instruct"}, user("left [img-1], right [img-0], [img-2]", A, B))
    assert "left (second), right (first), [img-2]" in with_places(made)
    made = await of_chat({"renderer": "qwen3-vl-instruct"}, user("see [img-9]", A))
    assert "(first)see [img-9]" in with_places(made)


async def test_a_content_that_is_printed_twice_or_not_at_all() -> None:
    twice = "{{ range .Messages }}{{ .Content }}|{{ .Content }}{{ end }}"
    made = await of_chat({"go_text": twice}, user("x", A))
    assert with_places(made) == "(first)x|x"
    users = "{{ range .Messages }}{{ if eq .Role `user` }}{{ .Content }}{{ end }}{{ end }}"
    made = await of_chat({"go_text": users}, Message(role="tool", content="y", images=(A,)), user("x", B))
    assert (with_places(made), made.image_count) == ("(second)x", 2)


@pytest.mark.parametrize(
    "template",
    [
        "{{ range .Messages }}{{ range .Images }}<image>{{ end }}{{ .Content }}{{ end }}",
        "{{ range .Messages }}{{ if .Images }}<|vision_start|><|image_pad|><|vision_end|>{{ end }}"
        "{{ .Content }}{{ end }}",
        "{{ range .Messages }}{{ .Content }}{{ end }}{{ if false }}<start_of_image>{{ end }}",
    ],
)
async def test_placeholders_of_templates(template: str) -> None:
    """They stand for the image, which is there itself; text that a client wrote elsewhere stays."""
    made = await of_chat({"go_text": template}, user("an <image> here", A, B))
    assert with_places(made) == "(first)(second)an <image> here"


async def test_a_template_that_prints_parts_alone() -> None:
    """Those texts of a chat without images too."""
    made = await of_chat({"jinja_text": PARTS}, Message(role="system", content="Rules"), user("x"))
    assert made.text == "<system>Rules<user>x"


async def test_raw_prompts() -> None:
    """native-api 8.4: an author's own markers are places, and an image without one stands in front"""
    made = await completed({}, "USER: [img-1] [img-0] x [img-2]", images=(A, B), raw=True)
    assert with_places(made) == "USER: (second) (first) x [img-2]"
    assert made.shown.text == "USER: [img-1] [img-0] x [img-2]"
    made = await completed({}, "[img] and [img-0]", images=(A, B, C), raw=True)
    assert with_places(made) == "(third)(second) and (first)"
    made = await completed({}, "[img-0] [img]", raw=True)
    assert (made.text, made.media) == ("[img-0] [img]", ())


async def test_completions() -> None:
    for facts in ({"go_text": GO}, {"jinja_text": JINJA}):
        made = await completed(facts, "see [img]", images=(A,))
        assert with_places(made).startswith("<user>see (first)")
    assert with_places(await completed({}, "x", images=(A, B), system="S")) == "S\n\n(first)(second)x"
    made = await completed({"go_text": GO}, "x", images=(A,), template="[{{ .System }}|{{ .Prompt }}]", system="S")
    assert (with_places(made), made.shown.text) == ("[S|(first)x]", "[S|[img-0]x]")
    fill = {"go_text": "{{ .Prompt }}<gap>{{ .Suffix }}"}
    assert with_places(await completed(fill, "a [img]", images=(A,), suffix="b")) == "a (first)<gap>b"


async def test_an_earlier_context_keeps_its_marker_as_text() -> None:
    for facts in ({}, {"go_text": "{{ .Prompt }}"}, {"jinja_text": JINJA}):
        made = await completed(facts, "x", "before [img-0] ", images=(A,))
        assert with_places(made).startswith("before [img-0] ")
        assert [one.data for one in made.media] == [A]
        assert made.shown.text.startswith("before [img-0] ")
        assert "(first)x" in with_places(made)


async def test_dropped_messages_take_their_images_along() -> None:
    counted: list[str] = []

    async def count(text: str, cuts: tuple[int, ...]) -> int:
        counted.append(text)
        return len(text)

    window = chat.Window(context_tokens=1000, count_tokens=count, has_projector=True)
    messages = [user("a", A), user("b", B)]
    made = await chat.fit_chat(select(TemplateFacts(go_text=GO)), messages, window)
    assert (made.text, made.media, made.dropped) == ("<user>b", (Media(place=6, data=B),), 1)
    assert not any("img" in text for text in counted)


async def test_what_images_really_take_counts_too() -> None:
    """A photo may take more than the 768 tokens that clients expect of it."""

    async def count(text: str, cuts: tuple[int, ...]) -> int:
        return len(text)

    async def count_all(prompt: chat.Prompt) -> int:
        return len(prompt.text) + 1500 * len(prompt.media)

    window = chat.Window(context_tokens=4000, count_tokens=count, has_projector=True)
    messages = [user("a", A), user("b", B), user("c", C)]
    made = await chat.fit_chat(select(TemplateFacts(go_text=GO)), messages, window)
    assert made.dropped == 0
    made = await chat.fit_chat(
        select(TemplateFacts(go_text=GO)), messages, msgspec.structs.replace(window, count_all=count_all)
    )
    assert (with_places(made), made.dropped) == ("<user>(second)b<user>(third)c", 1)


@given(
    texts=st.lists(st.text(alphabet="[img-0]\ufdd2\ufdd3 a", max_size=30), min_size=1, max_size=4),
    counts=st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
async def test_any_text(texts: list[str], counts: list[int]) -> None:
    """Each image stands in the text once, and nothing that a user wrote is lost but the placeholders."""
    images = iter(bytes([65 + at]) for at in range(20))
    messages = [user(text, *(next(images) for _ in range(count))) for text, count in zip(texts, counts, strict=False)]
    made = await of_chat({"go_text": "{{ range .Messages }}{{ .Content }}\n{{ end }}"}, *messages)
    assert sorted(one.data for one in made.media) == [image for message in messages for image in message.images]
    written = "".join(message.content.replace("[img]", "", len(message.images)) for message in messages)
    assert "".join(made.text.split()) == "".join(written.split())


def test_controls_hold_no_marker() -> None:
    """What the tests above rely on."""
    assert not any("img" in control for control in CONTROLS)
