"""A real pseudo-terminal with a program in it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT_SECONDS = 60.0
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?>=]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9]|[=>78])")


class Terminal:
    """`expect` takes from what the program wrote, in order; escape sequences are left out."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self._raw = b""
        self._seen = 0

    @property
    def screen(self) -> str:
        """All that was written, without escape sequences."""
        return _ESCAPE.sub("", self._raw.decode("utf-8", "replace")).replace("\r", "")

    @property
    def raw(self) -> str:
        return self._raw.decode("utf-8", "replace")

    def send(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, text: str) -> str:
        """Wait for a text after the last one; returns what came before it. Raises AssertionError with the screen."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while (at := self.screen.find(text, self._seen)) < 0:
            assert self._read(deadline), (
                f"never came: {text!r}; after {self.screen[: self._seen]!r} only {self.screen[self._seen :]!r}"
            )
        before = self.screen[self._seen : at]
        self._seen = at + len(text)
        return before

    def wait(self) -> int:
        """The exit status; reads to the end, so that the program can write."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while self._read(deadline):
            pass
        return self.process.wait(LIMIT_SECONDS)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: the program has closed the other end
            return False
        self._raw += data
        return bool(data)


@contextmanager
def terminal(command: list[str], environ: dict[str, str], cwd: Path, columns: int = 80) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    try:
        process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environ,
            cwd=cwd,
            start_new_session=True,
            # Makes it the controlling terminal, so that Ctrl+C becomes a signal.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    finally:
        os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(master)
