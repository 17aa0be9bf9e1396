"""What every test may count on, and what every test must leave behind: nothing."""

from __future__ import annotations

import gc
import pathlib
import signal
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

# Programs that are started in the background inherit that Ctrl-C and a hang-up mean nothing to them; what is tested
# here must hear both, however the tests were started.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

HERE = pathlib.Path(__file__).parent
MODELS = HERE / "models"
GONE_SECONDS = 10.0


@pytest.fixture
def anyio_backend() -> str:
    """The server runs on asyncio, so its tests do too."""
    return "asyncio"


@pytest.fixture(scope="session")
def models() -> pathlib.Path:
    """The folder of small models: scripted.gguf and bare.gguf answer from a table, embedding.gguf makes vectors,
    and vision.gguf with vision-mmproj.gguf sees colors."""
    return MODELS


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread or a child process. Those that fixtures of a wider scope started may stay, and
    what those start: the runners of a server that several tests share."""
    threads_before = set(threading.enumerate())
    children_before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    deadline = time.monotonic() + GONE_SECONDS
    while True:
        threads = [t for t in threading.enumerate() if t not in threads_before and not _is_pooled(t)]
        children = [c for c in psutil.Process().children(recursive=True) if _is_new(c, children_before) and _lives(c)]
        if not threads and not children:
            return
        if time.monotonic() > deadline:
            break
        gc.collect()
        for thread in threads:
            thread.join(0.05)
        psutil.wait_procs(children, timeout=0.05)
    pytest.fail(f"left behind: threads {threads}, processes {[(c.pid, c.cmdline()) for c in children if _lives(c)]}")


def _is_pooled(thread: threading.Thread) -> bool:
    """Worker threads that anyio and concurrent.futures keep for reuse and end with the event loop or the process."""
    return thread.daemon or thread.name.startswith(("AnyIO worker thread", "ThreadPoolExecutor", "execnet"))


def _is_new(process: psutil.Process, before: set[int]) -> bool:
    try:
        return process.pid not in before and process.ppid() not in before
    except psutil.NoSuchProcess:
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
