"""Text to tokens and back, by the vocabulary of an installed model, which is loaded for it as for an answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec

from server.inference.catalog import Catalog
from server.inference.checks import check_local
from server.inference.lending import lend
from server.messages.options import read_options
from server.runner import Runner
from server.scheduler import Scheduler

Result = TypeVar("Result")


class Pieces(msgspec.Struct, frozen=True):
    """`pieces`, where they were asked for, are the bytes of each token."""

    tokens: tuple[int, ...]
    pieces: tuple[bytes, ...] = ()


class Timed(msgspec.Struct, Generic[Result], frozen=True):
    """A result and what it took; loading is a part of the total."""

    result: Result
    total_ns: int
    load_ns: int


class Tokenizer:
    """The vocabularies of all installed models. `options` are the client's own; those that shape a runner count."""

    def __init__(self, catalog: Catalog, scheduler: Scheduler) -> None:
        self._catalog = catalog
        self._scheduler = scheduler

    async def tokenize(
        self,
        model: str,
        text: str,
        *,
        add_special: bool = False,
        with_pieces: bool = False,
        options: dict[str, Any] | None = None,
        keep_alive_seconds: float | None = None,
    ) -> Timed[Pieces]:
        """The tokens of a text. Raises what finding and loading a model raises, and RunnerDied."""

        async def work(runner: Runner) -> Pieces:
            if with_pieces:
                return Pieces(*await runner.split(text, add_special))
            return Pieces(await runner.tokenize(text, add_special))

        return await self._with_runner(model, work, options, keep_alive_seconds)

    async def detokenize(
        self,
        model: str,
        tokens: tuple[int, ...],
        *,
        options: dict[str, Any] | None = None,
        keep_alive_seconds: float | None = None,
    ) -> Timed[str]:
        """The text of tokens, special ones included. Raises InvalidRequest for a token that the model does not have."""
        return await self._with_runner(model, lambda runner: runner.detokenize(tokens), options, keep_alive_seconds)

    async def _with_runner(
        self,
        name: str,
        work: Callable[[Runner], Awaitable[Result]],
        options: dict[str, Any] | None,
        keep_alive_seconds: float | None,
    ) -> Timed[Result]:
        arrived_ns = time.perf_counter_ns()
        entry = await self._catalog.find(name, "chat")
        check_local(name, entry)
        wanted = read_options(entry.model.params, options or {}).runner
        async with lend(self._scheduler, entry, wanted, keep_alive_seconds=keep_alive_seconds) as lease:
            load_ns = time.perf_counter_ns() - arrived_ns
            result = await work(lease.runner)
        return Timed(result, time.perf_counter_ns() - arrived_ns, load_ns)
