"""Many streams at once, and streams that end early."""

from __future__ import annotations

import anyio
import pytest

from server.errors import RunnerDied
from server.messages.frames import Delta, Pulse
from server.runner import Runner
from tests.runner.answers import ask
from tests.runner.conftest import Running

pytestmark = pytest.mark.anyio

TEXTS = {
    "SKY": "The sky is blue because of Rayleigh scattering.",
    "COUNT": "one, two, three, four, five, six, seven, eight, nine, ten",
    "EMOJI": "Hi \N{LLAMA} done",
    "STOPPY": "alpha beta STOP gamma delta",
    "JSON": '{"name": "Ada", "age": 36, "tags": ["x", "y"]}',
    "EMPTY": "",
    "LOOP": "again and" * 50,
    "else": "Hello there, how can I help?",
}


@pytest.mark.parametrize("slots", [1, 5, 32])
async def test_32_streams_get_the_right_text_each(running: Running, slots: int) -> None:
    async with running(slots=slots) as runner:
        right: list[bool] = []

        async def one(number: int) -> None:
            prompt, text = list(TEXTS.items())[number % len(TEXTS)]
            answer = await ask(runner, "z" * (number * 7) + prompt, max_tokens=100)
            right.append(answer.text == text)

        async with anyio.create_task_group() as tasks:
            for number in range(32):
                tasks.start_soon(one, number)
        assert right == [True] * 32


async def until(runner: Runner, active: int, waiting: int) -> None:
    """Wait for a pulse that says so."""
    seen = anyio.Event()

    def look(pulse: Pulse) -> None:
        if (pulse.active, pulse.waiting) == (active, waiting):
            seen.set()

    runner.on_pulse = look
    look(runner.pulse)
    with anyio.fail_after(20):
        await seen.wait()


async def test_a_cancelled_stream_frees_its_slot_for_one_that_waits(running: Running) -> None:
    async with running(slots=1, context_tokens=8192) as runner:
        done = anyio.Event()

        async def wait_for_slot() -> None:
            assert (await ask(runner, "SKY")).text == TEXTS["SKY"]
            done.set()

        async with anyio.create_task_group() as tasks:
            endless = runner.generate("LOOP")
            assert isinstance(await anext(endless), Delta)
            tasks.start_soon(wait_for_slot)
            await until(runner, 1, 1)
            assert not done.is_set()
            await endless.aclose()
            with anyio.fail_after(10):
                await done.wait()
        await until(runner, 0, 0)


async def test_cancelling_a_task_cancels_its_stream_and_no_other(running: Running) -> None:
    async with running(slots=2, context_tokens=2048) as runner:
        answers: list[str] = []

        async def long() -> None:
            answers.append((await ask(runner, "LOOP", max_tokens=2000)).text)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(long)
            with anyio.CancelScope() as scope:
                async for _ in runner.generate("LOOP"):
                    scope.cancel()
        assert answers == ["again and" * 1000]
        await until(runner, 0, 0)


async def test_a_stream_can_be_cancelled_while_it_waits(running: Running) -> None:
    async with running(slots=1, context_tokens=8192) as runner:
        endless = runner.generate("LOOP")
        await anext(endless)
        with anyio.move_on_after(0.05) as scope:
            await ask(runner, "SKY")
        assert scope.cancelled_caught
        await endless.aclose()
        await until(runner, 0, 0)
        assert (await ask(runner, "SKY")).text == TEXTS["SKY"]


async def test_a_long_prompt_is_cancelled_while_it_is_read(running: Running) -> None:
    async with running(slots=1, context_tokens=8192, batch_tokens=2048) as runner:
        with anyio.move_on_after(0.02) as scope:
            await ask(runner, "v" * 8000 + "SKY")
        assert scope.cancelled_caught
        with anyio.fail_after(20):
            assert (await ask(runner, "SKY")).text == TEXTS["SKY"]


async def test_others_go_on_while_a_long_prompt_is_read(running: Running) -> None:
    async with running(slots=2, context_tokens=8192) as runner:
        order: list[str] = []

        async def read() -> None:
            await ask(runner, "w" * 8000 + "SKY")
            order.append("long")

        async with anyio.create_task_group() as tasks:
            endless = runner.generate("LOOP")
            await anext(endless)
            tasks.start_soon(read)
            pieces = 0
            async for _ in endless:
                pieces += 1
                if order:
                    break
            await endless.aclose()
        assert pieces >= 8000 // 512, "at least one token for each batch of the prompt"


async def test_tokenizing_does_not_wait_for_streams(running: Running) -> None:
    async with running(slots=1, context_tokens=8192) as runner:
        endless = runner.generate("LOOP")
        await anext(endless)
        with anyio.fail_after(10):
            for _ in range(20):
                assert len(await runner.tokenize("SKY")) == 1
        await endless.aclose()


async def test_after_stop_every_request_is_refused_at_once(running: Running) -> None:
    async with running() as runner:
        endless = runner.generate("LOOP")
        await anext(endless)
        await runner.stop()
        assert not runner.is_alive
        with pytest.raises(RunnerDied, match="unloaded"):
            async for _ in endless:
                pass
        with pytest.raises(RunnerDied):
            await runner.tokenize("x")
        assert runner.rss_bytes() == 0
        await runner.stop()
