"""The programs that work beside the server, each in a process of its own: how they are started, in a checkout as
modules, and in a package as the one frozen executable with a hidden first word."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGE_ROOT = Path(__file__).parents[1]  # where `-m` finds the modules, whatever folder the user is in


@dataclass(frozen=True)
class Program:
    """`module` is a package whose `process.main` takes the words behind the hidden one and gives the exit status."""

    word: str
    module: str

    def command(self, *words: str) -> list[str]:
        start = [self.word] if is_frozen() else ["-m", self.module]
        return [sys.executable, *start, *words]


ENGINE = Program("engine-process", "server.engine")
CONVERTER = Program("convert-process", "server.convert")


def is_frozen() -> bool:
    return bool(getattr(sys, "frozen", False))


def start_folder() -> Path | None:
    """The folder that a program is started in; None where it does not matter."""
    return None if is_frozen() else PACKAGE_ROOT


def run_hidden(words: Sequence[str]) -> int | None:
    """Be the program that the first word names, and give its exit status; None where it names none. Whatever may be
    started as a frozen executable asks this first: what it would import otherwise is of no use to those programs."""
    for program in (ENGINE, CONVERTER):
        if list(words[:1]) == [program.word]:
            process = importlib.import_module(f"{program.module}.process")
            return int(process.main(list(words[1:])))
    return None
