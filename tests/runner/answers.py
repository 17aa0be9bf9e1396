"""Asking a runner and collecting what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from server.messages.chat import TokenLogprob
from server.messages.frames import Delta, Finished
from server.runner import Runner


class Answer(msgspec.Struct):
    text: str
    end: Finished
    logprobs: list[TokenLogprob]


async def ask(runner: Runner, prompt: str | Sequence[int], **options: Any) -> Answer:
    """The whole answer."""
    text = ""
    entries: list[TokenLogprob] = []
    async for event in runner.generate(prompt, **options):
        if isinstance(event, Delta):
            text += event.text
            entries += event.logprobs
        else:
            return Answer(text, event, entries)
    raise AssertionError("the answer has no end")
