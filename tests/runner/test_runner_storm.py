"""Random traffic: whatever arrives and leaves, every answer that ends is right and every slot comes back."""

from __future__ import annotations

import contextlib
import random

import anyio
import pytest

from server.errors import ContextExceeded
from server.messages.options import SamplingOptions
from tests.runner.answers import ask
from tests.runner.conftest import Running
from tests.runner.test_runner_streams import TEXTS, until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_storm_of_requests(running: Running, seed: int) -> None:
    dice = random.Random(seed)
    async with running(slots=4, context_tokens=300, batch_tokens=128) as runner:
        finished: list[str] = []

        async def client(number: int) -> None:
            name = dice.choice([*TEXTS])
            prefix = dice.choice(["", "m" * 150, "m" * 120 + "n" * dice.randrange(100), "o" * dice.randrange(700)])
            patience = dice.choice([None, None, 0.0, 0.01, 0.05])
            options = {"logprobs": dice.choice([None, None, 1]), "shift": dice.choice([True, True, False])}
            sampling = SamplingOptions(temperature=dice.choice([0.0, 0.8]), repeat_last_n=dice.choice([0, 64, -1]))
            with anyio.move_on_after(patience), contextlib.suppress(ContextExceeded):
                answer = await ask(runner, prefix + name, max_tokens=100, sampling=sampling, **options)
                assert answer.text == TEXTS[name], (number, name, len(prefix), options)
                finished.append(name)

        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for number in range(24):
                    tasks.start_soon(client, number)
        await until(runner, 0, 0)
        assert len(finished) > 20
        assert (await ask(runner, "SKY")).text == TEXTS["SKY"]
