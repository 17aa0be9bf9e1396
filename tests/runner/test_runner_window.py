"""Prompts and answers longer than the context (native-api 8.5, 8.7)."""

from __future__ import annotations

import pytest

from server.messages.options import SamplingOptions
from tests.runner.answers import ask
from tests.runner.conftest import Running

pytestmark = pytest.mark.anyio
SKY = "The sky is blue because of Rayleigh scattering."


@pytest.mark.parametrize(
    ("context", "letters", "keep", "left"),
    [(50, 148, 4, 28), (50, 148, 20, 36), (256, 600, 4, 131), (256, 600, 100, 179), (256, 600, 0, 129)],
)
async def test_a_prompt_is_cut_in_the_middle(
    running: Running, context: int, letters: int, keep: int, left: int
) -> None:
    async with running("bare.gguf", context_tokens=context) as runner:
        answer = await ask(runner, "x" * letters + "SKY", sampling=SamplingOptions(num_keep=keep))
        assert (answer.text, answer.end.prompt_tokens) == (SKY, left)


async def test_a_prompt_that_is_kept_whole_loses_its_end(running: Running) -> None:
    async with running("bare.gguf", context_tokens=256) as runner:
        answer = await ask(runner, "x" * 600 + "SKY", sampling=SamplingOptions(num_keep=-1))
        assert (answer.text, answer.end.prompt_tokens) == ("Hello there, how can I help?", 255)


async def test_an_answer_goes_on_beyond_the_context(running: Running) -> None:
    async with running(context_tokens=256) as runner:
        answer = await ask(runner, "LOOP", max_tokens=600)
        assert (answer.end.reason, answer.end.eval_tokens) == ("length", 600)
        assert answer.text == "again and" * 300


async def test_without_shift_it_ends_where_the_context_does(running: Running) -> None:
    async with running(context_tokens=256) as runner:
        answer = await ask(runner, "LOOP", max_tokens=300, shift=False)
        assert (answer.end.reason, answer.end.eval_tokens) == ("length", 254)
    async with running(context_tokens=256, shift=False) as runner:
        assert (await ask(runner, "LOOP", max_tokens=300)).end.eval_tokens == 254


async def test_an_endless_answer_ends_after_ten_contexts(running: Running) -> None:
    async with running(context_tokens=64) as runner:
        for limit in (None, -1, 100_000):
            answer = await ask(runner, "LOOP", max_tokens=limit)
            assert (answer.end.reason, answer.end.eval_tokens) == ("length", 640)


@pytest.mark.parametrize("keep", [-1, 0, 4, 1000])
async def test_the_smallest_context(running: Running, keep: int) -> None:
    async with running(context_tokens=4) as runner:
        answer = await ask(runner, "LOOP", sampling=SamplingOptions(num_keep=keep))
        assert answer.text == "again and" * 20


async def test_streams_that_share_a_beginning_shift_without_harm(running: Running) -> None:
    async with running(context_tokens=128, slots=2) as runner:
        prefix = "y" * 100
        await ask(runner, prefix + "SKY")
        looped = await ask(runner, prefix + "LOOP", max_tokens=200)
        assert looped.end.cached_tokens == 101
        assert looped.text == "again and" * 100
        assert (await ask(runner, prefix + "SKY")).text == SKY
