"""Which messages reach the prompt."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.messages.chat import Message
from server.prompts import history

pytestmark = pytest.mark.anyio


def message(role: str, content: str = "", images: int = 0) -> Message:
    return Message(role=role, content=content, images=(b"x",) * images)


def contents(messages: Sequence[Message]) -> str:
    return " ".join(one.content for one in messages)


class Counter:
    """Renders contents with a bar behind each, and counts characters as tokens."""

    def __init__(self) -> None:
        self.counted = 0

    async def render(self, messages: Sequence[Message]) -> str:
        return "".join(f"{one.content}|" for one in messages)

    async def count(self, text: str) -> int:
        self.counted += 1
        return len(text)

    async def fit(self, messages: Sequence[Message], context: int, has_projector: bool = False) -> history.Fit:
        return await history.fit(messages, self.render, self.count, context, has_projector=has_projector)


def test_system_text_and_messages_of_the_model() -> None:
    """templates 14, 15"""
    stored = (message("user", "s1"), message("assistant", "s2"))
    asked = [message("user", "u")]
    assert contents(history.prepare(asked, system="S", stored=stored)) == "S s1 s2 u"
    own = [message("system", "mine"), *asked]
    assert contents(history.prepare(own, system="S", stored=stored)) == "s1 s2 mine u"
    later = [message("user", "u"), message("system", "mine")]
    assert contents(history.prepare(later, system="S")) == "S u mine"


def test_old_thoughts_go() -> None:
    """templates 16"""
    chat = [
        message("user", "a"),
        message("assistant", " <think>x</think>\n y"),
        message("assistant", "<think>never closed"),
        message("assistant", "no <think>z</think>"),
        message("user", "b"),
        message("assistant", "<think>new</think>z"),
    ]
    kept = ["a", "y", "", "no <think>z</think>", "b", "<think>new</think>z"]
    assert [one.content for one in history.prepare(chat, family="qwen3")] == kept
    assert [one.content for one in history.prepare(chat, model_name="deepseek-r1")] == kept
    assert history.prepare(chat, family="llama") == chat


async def test_what_fits_stays() -> None:
    chat = [message("user", "aa"), message("assistant", "bb"), message("user", "cc")]
    fit = await Counter().fit(chat, 9)
    assert (fit.prompt, fit.dropped) == ("aa|bb|cc|", 0)


async def test_the_oldest_go_and_system_messages_stay() -> None:
    """templates 17"""
    chat = [message(role, f"{role[0]}{number}") for number, role in enumerate(
        ["system", "user", "assistant", "system", "user", "assistant", "user"]
    )]  # fmt: skip
    fit = await Counter().fit(chat, 12)
    assert (fit.prompt, fit.dropped) == ("s0|s3|a5|u6|", 3)
    fit = await Counter().fit(chat, 1)
    assert (fit.prompt, fit.dropped) == ("s0|s3|u6|", 4)


async def test_images_count_where_they_cost() -> None:
    chat = [message("user", "a", images=1), message("user", "b", images=1)]
    assert (await Counter().fit(chat, 800)).dropped == 0
    assert (await Counter().fit(chat, 800, has_projector=True)).dropped == 1


async def test_few_countings() -> None:
    chat = [message("user", "x" * 10) for _ in range(1000)]
    counter = Counter()
    fit = await counter.fit(chat, 110)
    assert len(fit.messages) == 10
    assert counter.counted <= 12


@given(
    chat=st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text("ab", max_size=5)), min_size=1),
    context=st.integers(0, 60),
)
@settings(max_examples=60)
async def test_same_as_trying_all(chat: list[tuple[str, str]], context: int) -> None:
    messages = [message(role, content) for role, content in chat]
    counter = Counter()
    fit = await counter.fit(messages, context)
    tried = [history.cut(messages, start) for start in range(len(messages))]
    fitting = [kept for kept in tried if len(await counter.render(kept)) <= context]
    assert list(fit.messages) == (fitting[0] if fitting else tried[-1])
    assert fit.dropped == len(messages) - len(fit.messages)
