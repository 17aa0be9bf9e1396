"""Running `puna` as a process of its own, in a home folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from server.client import owner_of

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 60


@dataclass
class Program:
    home: Path
    url: str
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OLLAMA_", "XDG_"))}
        return kept | {
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "OLLAMA_HOST": self.url,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "TERM": "xterm",
            **self.extra,
        }

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "server.cli.main", *args]

    def run(self, *args: str, text: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """With `text` piped in."""
        return subprocess.run(
            self.command(*args),
            input=text,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=LIMIT_SECONDS,
            env=self.environ,
            cwd=cwd or ROOT,
            check=False,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ended_at_last(port: int) -> Iterator[None]:
    """End the server that a command has left behind, as it should have."""
    try:
        yield
    finally:
        if (pid := owner_of(port).pid) is not None:
            process = psutil.Process(pid)
            process.terminate()
            process.wait(LIMIT_SECONDS)
