"""A client for a server that answers; where none runs on this machine, one is started first."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from server.cli.progress import Progress
from server.client import Client
from server.errors import KeyWanted, PunaError, ServerNotRunning, ServerUnreachable
from server.programs import PACKAGE_ROOT, is_frozen
from server.settings import Settings, client_url, is_loopback, load, paths, process_environ, reachable_host

READY_SECONDS = 15.0
GONE_SECONDS = 15.0
LOOK_SECONDS = 0.1
LOG_BYTES = 10 * 1024 * 1024


@contextmanager
def connected(settings: Settings | None = None) -> Iterator[Client]:
    """Raises ServerNotRunning only for a server on another machine, which cannot be started from here."""
    settings = settings or load()
    with Client(client_url(settings)) as client:
        try:
            client.probe()
            if _can_start(settings):
                _wait_while_it_stops(client)
        except ServerNotRunning:
            if not _can_start(settings):
                raise ServerNotRunning(
                    f"could not connect to the Puna server at {client.base_url}; run 'puna serve' there to start it"
                ) from None
            start_server(settings, client)
        except ServerUnreachable:
            raise
        except PunaError as error:
            raise PunaError(
                f"what listens at {client.base_url} does not answer as a Puna server does: {error}"
            ) from error
        yield client


def _wait_while_it_stops(client: Client) -> None:
    """Raises ServerNotRunning once a server that was stopping has gone: then another one can be started."""
    deadline = time.monotonic() + GONE_SECONDS
    is_stopping = _is_stopping(client)
    while is_stopping and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        is_stopping = _is_stopping(client)


def _is_stopping(client: Client) -> bool:
    try:
        return client.status().get("state") == "stopping"
    except ServerNotRunning:
        raise
    except ServerUnreachable:
        return True  # its connections close before its port does
    except KeyWanted:
        return False  # what is asked next says so
    except PunaError:
        client.version()  # Ollama has no such answer but a version, and no other program has either
        return False


def _can_start(settings: Settings) -> bool:
    return settings.scheme == "http" and is_loopback(reachable_host(settings.host))


def start_server(settings: Settings, client: Client) -> None:
    """Start a server that outlives this command, and wait until it answers. Raises PunaError naming the log."""
    try:
        log_path, log = _open_log()
        with log:
            begin = log.tell()
            process = _spawn(settings, log)
    except OSError as error:
        raise PunaError(f"the Puna server could not be started: {error}; run 'puna serve' to see why") from error
    with Progress() as progress:
        if sys.stderr.isatty():
            progress.step("starting the Puna server")
        try:
            _wait_until_ready(client, process, log_path, begin)
        finally:
            progress.clear()


def _wait_until_ready(client: Client, process: subprocess.Popen[bytes], log_path: Path, begin: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        # First whether one answers: the one that answers may have been started by another command just now.
        if _answers(client):
            _forget(process)
            return
        if process.poll() is not None:
            raise PunaError(f"the Puna server could not be started: {_last_words(log_path, begin)}")
        time.sleep(LOOK_SECONDS)
    _forget(process)
    raise PunaError(
        f"timed out waiting for the server to start: it does not answer after {READY_SECONDS:.0f} s. "
        f"Its log is {log_path}; it may still become ready."
    )


def _spawn(settings: Settings, log: BinaryIO) -> subprocess.Popen[bytes]:
    """In a session of its own: neither Ctrl+C nor closing the terminal reaches it."""
    command = serve_command()
    text = settings.texts.get("models_dir", "")
    if text and not Path(text).expanduser().is_absolute():
        # A relative folder was meant from here, not from the server's working folder. An absolute one is found by the
        # server itself, which then knows who set it.
        command += ["--models-dir", str(settings.models_dir)]
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=PACKAGE_ROOT,
        env=process_environ(),
        start_new_session=True,
        creationflags=flags,
        close_fds=True,
    )


def serve_command() -> list[str]:
    """This very program as a server: the frozen executable, or Python with the package it was started from."""
    if is_frozen():
        return [sys.executable, "serve"]
    return [sys.executable, "-m", "server.cli.main", "serve"]


def _answers(client: Client) -> bool:
    try:
        client.probe()
    except PunaError:
        return False  # not yet listening, or still getting ready
    return True


def _forget(process: subprocess.Popen[bytes]) -> None:
    """It shall outlive us; without a status Popen would warn of a child that nobody waited for."""
    process.returncode = 0


def _open_log() -> tuple[Path, BinaryIO]:
    """A server that may not write into its usual folder logs into a temporary file."""
    log_path = paths.server_log()
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        _keep_small(log_path)
        return log_path, log_path.open("ab")
    except OSError:
        handle, name = tempfile.mkstemp(prefix="puna-server-", suffix=".log")
        return Path(name), os.fdopen(handle, "ab")


def _keep_small(log_path: Path) -> None:
    if log_path.exists() and log_path.stat().st_size > LOG_BYTES:
        log_path.replace(log_path.with_name("server-1.log"))


def _last_words(log_path: Path, begin: int) -> str:
    with log_path.open("rb") as log:
        log.seek(begin)
        lines = log.read().decode("utf-8", "replace").splitlines()
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    # Of a traceback, whose groups are framed, the last line names the exception.
    said = [text for line in lines if (text := line.strip(" |+-"))]
    reason = errors[-1] if errors else said[-1] if said else "it ended at once"
    return f"{reason} (the log is {log_path})"
