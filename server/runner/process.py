"""The runner process itself: started anew (never forked from a process with threads), its error output kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import anyio
import msgspec
from anyio.abc import Process

from server.errors import RunnerStartFailed
from server.messages.frames import LaunchPlan
from server.programs import ENGINE, start_folder

KEPT_LINES = 200
LONGEST_LINE = 4096

# Set unless the caller's environment says otherwise. An abort would try to attach a debugger for seconds. OpenMP
# threads that were bound to cores would stay there when other programs want them. A thread that waits for the others
# spins a moment and then sleeps: the usual 300,000 turns take a core from whoever the others wait for, be it another
# program or this server that passes on a token, and far fewer cost a quiet machine a tenth of its speed.
# Weights that are not mapped lie in small pages unless glibc asks Linux for huge ones: after hours of other work, when
# the small ones are scattered over the memory, that alone costs a fifth to a quarter of the token rate.
ENVIRONMENT = {
    "GGML_NO_BACKTRACE": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "GOMP_SPINCOUNT": "20000",
    "OMP_PROC_BIND": "false",
    "PYTHONUNBUFFERED": "1",
}


def engine_command(cache_dir: Path | None = None) -> list[str]:
    """How a runner is started. `cache_dir`: where to remember which CPU library runs here."""
    return ENGINE.command() if cache_dir is None else ENGINE.command("--cache", str(cache_dir.absolute()))


def absolute(plan: LaunchPlan) -> LaunchPlan:
    """The same plan for a process in another folder."""
    adapters = tuple(os.path.abspath(path) for path in plan.adapter_paths)
    return msgspec.structs.replace(plan, model_path=os.path.abspath(plan.model_path), adapter_paths=adapters)


async def open_engine(command: Sequence[str], environ: Mapping[str, str]) -> Process:
    """Raises RunnerStartFailed when the program cannot be started at all."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.ABOVE_NORMAL_PRIORITY_CLASS
    try:
        return await anyio.open_process(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**ENVIRONMENT, **environ},
            cwd=start_folder(),
            creationflags=flags,
        )
    except OSError as error:
        raise RunnerStartFailed(
            f"The model's process could not be started: {error.strerror or error}. Install Puna again.",
            log=f"{command}: {error!r}",
        ) from error


class ErrorOutput:
    """Cuts a byte stream into lines, hands each to `log` and keeps the newest."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._log = log
        self._partial = b""

    def feed(self, data: bytes) -> None:
        *whole, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > LONGEST_LINE:
            whole.append(self._partial)
            self._partial = b""
        for line in whole:
            self._keep(line)

    def flush(self) -> None:
        if self._partial:
            self._keep(self._partial)
            self._partial = b""

    def _keep(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self.lines.append(text)
            self._log(text)
