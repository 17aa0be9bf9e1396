"""What answers have cost, model by model since the server began, and those that are being written now.

A finished answer is counted once. Of a running one only a function is kept that looks when somebody asks, so that
nothing is done for a token.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from server.messages.chat import Usage
from server.messages.options import SamplingOptions

FIRST_TOKEN_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # bounds of a histogram


@dataclass(slots=True)
class ModelFigures:
    """Sums over finished answers. `read_tokens` and `read_ns` are of prompts, without what the cache knew.
    `first_tokens` counts answers by the first bound that their wait did not pass; the last place is for the rest."""

    answers: int = 0
    read_tokens: int = 0
    cached_tokens: int = 0
    read_ns: int = 0
    written_tokens: int = 0
    written_ns: int = 0
    most_tokens: int = 0
    first_ns: int = 0
    first_tokens: list[int] = field(default_factory=lambda: [0] * (len(FIRST_TOKEN_SECONDS) + 1))

    def add(self, usage: Usage) -> None:
        """The wait for the first token is loading and reading."""
        self.answers += 1
        self.read_tokens += usage.prompt_tokens - usage.cached_tokens
        self.cached_tokens += usage.cached_tokens
        self.read_ns += usage.prompt_ns
        self.written_tokens += usage.eval_tokens
        self.written_ns += usage.eval_ns
        self.most_tokens = max(self.most_tokens, usage.prompt_tokens + usage.eval_tokens)
        waited_ns = usage.load_ns + usage.prompt_ns
        self.first_ns += waited_ns
        self.first_tokens[bisect_left(FIRST_TOKEN_SECONDS, waited_ns / 1e9)] += 1


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an answer is, in tokens; all 0 before its prompt has been read."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated: int = 0
    has_new_line: bool = False


@dataclass(frozen=True, slots=True)
class Writing:
    """An answer that is being written by the runner of the model at `path`."""

    number: int
    path: str
    sampling: SamplingOptions
    standing: Callable[[], Standing]


class Figures:
    """`finished`: by the names of models."""

    def __init__(self) -> None:
        self.finished: dict[str, ModelFigures] = {}
        self._writing: dict[int, Writing] = {}
        self._numbers = itertools.count(1)

    def add(self, model: str, usage: Usage) -> None:
        self.finished.setdefault(model, ModelFigures()).add(usage)

    @contextmanager
    def writing(self, path: str, sampling: SamplingOptions, standing: Callable[[], Standing]) -> Iterator[None]:
        number = next(self._numbers)
        self._writing[number] = Writing(number, path, sampling, standing)
        try:
            yield
        finally:
            del self._writing[number]

    def written_by(self, path: str) -> list[Writing]:
        """The oldest first."""
        return [writing for writing in self._writing.values() if writing.path == path]
