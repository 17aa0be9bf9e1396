"""Asks the starter model through the real engine, many questions at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from server.messages.chat import Message
from server.messages.frames import Delta, LaunchPlan
from server.messages.options import SamplingOptions, read_options
from server.prompts import jinja
from server.runner import Runner
from server.settings import runner_environ
from server.store import gguf, modelfile, parameters

RESOURCES = Path(__file__).parents[2] / "resources"
STARTER = RESOURCES / "puna-starter.gguf"
MODELFILE = RESOURCES / "puna-starter.Modelfile"
SLOTS = 24
STREAM_TOKENS = 192  # a question of the greatest length in common letters, and its answer

Chat = Sequence[Message]


def question(text: str) -> Chat:
    return (Message(role="user", content=text),)


def sampling() -> SamplingOptions:
    """The options of the Modelfile."""
    parsed = modelfile.parse(MODELFILE.read_text(encoding="utf-8"))
    return read_options(parameters.typed(parsed.parameters)).sampling


@asynccontextmanager
async def running_starter(slots: int = SLOTS, context_tokens: int = STREAM_TOKENS) -> AsyncIterator[Runner]:
    plan = LaunchPlan(
        model_path=str(STARTER), context_tokens=context_tokens, slots=slots, gpu_layers=0, threads=2, device_indices=()
    )
    async with anyio.create_task_group() as tasks:
        runner = await Runner.start(plan, task_group=tasks, environ=runner_environ())
        try:
            yield runner
        finally:
            with anyio.CancelScope(shield=True):
                await runner.stop()


async def answers(runner: Runner, chats: Sequence[Chat]) -> list[str]:
    """The answers to chats in their order, as many at once as the runner has slots."""
    template = jinja.compile(gguf.read_header(STARTER).chat_template)
    options = sampling()
    said = [""] * len(chats)
    limit = anyio.CapacityLimiter(runner.loaded.slots)

    async def ask(index: int) -> None:
        async with limit:
            prompt = template.render(chats[index])
            async for event in runner.generate(prompt, sampling=options, max_tokens=options.num_predict):
                if isinstance(event, Delta):
                    said[index] += event.text

    async with anyio.create_task_group() as tasks:
        for index in range(len(chats)):
            tasks.start_soon(ask, index)
    return said
