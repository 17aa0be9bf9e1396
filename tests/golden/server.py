"""A real server as a child process, with an empty home and a port of its own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx2

START_SECONDS = 60.0
STOP_SECONDS = 20.0
PROGRAM = (sys.executable, "-m", "server.cli.main")
_KEPT = ("PATH", "LANG", "SYSTEMROOT", "TEMP", "TMP", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class RunningServer:
    """`home` stands for `{home}` and `port` for `{port}` in recordings."""

    process: subprocess.Popen[bytes]
    base: str
    port: int
    home: pathlib.Path

    @property
    def log(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")

    def wait(self, seconds: float) -> None:
        """Let time pass, unless the server ends: then say why."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
            raise AssertionError(f"the server ended early:\n{self.log[-4000:]}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def running_server(env: dict[str, str], program: Sequence[str] = PROGRAM) -> Iterator[RunningServer]:
    """`env` are settings beside those for home, models and port. `program` is what understands `serve`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home, port = pathlib.Path(folder), free_port()
        own = {name: str(home) for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA")}
        settings = {"OLLAMA_MODELS": str(home / "models"), "OLLAMA_HOST": f"127.0.0.1:{port}"}
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with (home / "server.log").open("wb") as log:
            process = subprocess.Popen(
                [*program, "serve"],
                env={**kept, **own, **settings, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        server = RunningServer(process, f"http://127.0.0.1:{port}", port, home)
        try:
            _wait_until_it_answers(server)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_answers(server: RunningServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(server.base + "/", timeout=5, trust_env=False).status_code == 200:
                return
        server.wait(0.1)
    raise AssertionError(f"the server did not answer within {START_SECONDS} s:\n{server.log[-4000:]}")
