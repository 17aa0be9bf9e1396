"""A program that changes model folders and is killed in the middle of it, again and again.

It reads rounds from its arguments, `plan:kill`. For each it makes a process of its own, which follows the plan (a list
of changes that a number decides) in a fresh folder and is killed before or after its kill-th system call that could
leave a trace on the disk; 0 lets it finish. Standard output gets a line of JSON for each: how many changes were
finished, how many such system calls there were, and the signal that ended it.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from server.messages.names import ModelName
from server.store import CreateRequest, Store
from tests.store.gguf_builder import small_model

TRACES = frozenset({"open", "write", "writelines", "flush", "close", "fsync", "rename", "replace", "unlink", "remove",
                    "mkdir", "rmdir", "utime", "symlink", "link", "truncate"})  # fmt: skip
NAMES = ("a", "b", "me/c", "host.example/d/e:v1")
CHANGES = 7
State = dict[str, tuple[str, str]]  # name to system text and weights


@dataclass(frozen=True)
class Change:
    """`kind`: from a file, from a model, copy, delete. `text` is the system text of what is made."""

    kind: str
    name: str
    source: str = ""
    text: str = ""

    def after(self, state: State) -> State:
        """What is installed when it is done."""
        if self.kind == "delete":
            return {name: value for name, value in state.items() if name != self.name}
        weights = self.source if self.kind == "file" else state[self.source][1]
        text = state[self.source][0] if self.kind == "copy" else self.text
        return {**state, self.name: (text, weights)}

    def make(self, store: Store) -> None:
        if self.kind == "delete":
            store.delete(ModelName.parse(self.name))
        elif self.kind == "copy":
            store.copy(ModelName.parse(self.source), ModelName.parse(self.name))
        else:
            base: dict[str, object] = {"from": self.source}
            if self.kind == "file":
                digest, _ = store.blobs.write(weights_named(self.source))
                base = {"files": {"x.gguf": digest}}
            request = {"model": self.name, "system": self.text, "parameters": {"seed": len(self.text)}, **base}
            store.create(CreateRequest.read(request), lambda _: None)


def weights_named(name: str) -> bytes:
    return small_model(general__name=name).encoded()


def plan(number: int) -> Iterator[tuple[Change, State]]:
    """Changes that are all possible, each with what is installed after it."""
    chance = random.Random(number)
    state: State = {}
    for step in range(CHANGES):
        kinds = ["file", "file", "model", "copy", "delete", "delete"] if len(state) > 1 else ["file"]
        kind, name = chance.choice(kinds), chance.choice(NAMES)
        source = chance.choice(sorted(state)) if state else ""
        if kind == "delete":
            change = Change(kind, source)
        elif kind == "file":
            change = Change(kind, name, chance.choice("xy"), f"text {step}")
        else:
            change = Change(kind, name, source, f"text {step}")
        state = change.after(state)
        yield change, state


class Killer:
    """Counts system calls and ends the process at the chosen one."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at = kill_at
        self.count = 0

    def __call__(self, _frame: FrameType, event: str, function: object) -> None:
        if event not in ("c_call", "c_return") or getattr(function, "__name__", "") not in TRACES:
            return
        owner = getattr(function, "__self__", None)
        if isinstance(owner, io.IOBase) or getattr(owner, "__name__", "") in ("posix", "_io", "builtins"):
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)


def follow(number: int, kill_at: int, root: Path, journal: int) -> None:
    """In the child. Each finished change is one byte in the journal."""
    store = Store(root)
    store.prepare()
    killer = Killer(kill_at)
    for change, _ in plan(number):
        sys.setprofile(killer)
        change.make(store)
        sys.setprofile(None)
        os.write(journal, b"x")
    os.write(journal, b"|" + str(killer.count).encode())


def one_round(number: int, kill_at: int, root: Path) -> dict[str, int]:
    reading, journal = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            follow(number, kill_at, root, journal)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(journal)
    with os.fdopen(reading, "rb") as file:
        finished, _, calls = file.read().partition(b"|")
    _, status = os.waitpid(pid, 0)
    return {"finished": len(finished), "calls": int(calls or 0), "status": status}


def main(root: Path, rounds: list[str]) -> None:
    for text in rounds:
        number, kill_at = map(int, text.split(":"))
        outcome = one_round(number, kill_at, root / f"{number}-{kill_at}")
        sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
