"""Debian's docker-registry as a process of its own, with real files, on a free port of this machine."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

PROGRAM = shutil.which("docker-registry") or shutil.which("registry")
START_SECONDS = 30.0
_CONFIG = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@dataclass(frozen=True)
class DockerRegistry:
    """`host` is what model names begin with."""

    process: subprocess.Popen[bytes]
    port: int
    folder: pathlib.Path

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextlib.contextmanager
def docker_registry(folder: pathlib.Path) -> Iterator[DockerRegistry]:
    assert PROGRAM, "docker-registry is not installed (Debian: apt install docker-registry)"
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(folder=folder / "data", port=port))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "serve", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
        )
    try:
        _wait(process, port, folder / "registry.log")
        yield DockerRegistry(process, port, folder / "data")
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _wait(process: subprocess.Popen[bytes], port: int, log: pathlib.Path) -> None:
    """Until it takes connections; ends early, with its own words, where it does not start."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            break
    raise AssertionError(f"docker-registry did not start: {log.read_text(errors='replace')[-2000:]}")
