"""A child process that does one piece of work for the store: it is told something, answers line by line, and is gone
when its context ends, whatever it was doing. The end of its input is the end of the server, and ends it too."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from server.programs import start_folder

KEPT_LINES = 50
LONGEST_ANSWER = 1 << 20
LONGEST_LINE = 4096


class Errand:
    """A process at work. What it writes to its error output goes to `log`, and the newest lines are kept."""

    def __init__(self, process: subprocess.Popen[bytes], log: Callable[[str], object]) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._process = process
        self._input, self._output, self._errors = process.stdin, process.stdout, process.stderr
        self._log = log
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._listener = threading.Thread(target=self._listen, name="errand", daemon=True)
        self._listener.start()

    def say(self, line: bytes) -> None:
        """To a process that is gone already as well: its answers will tell."""
        with suppress(OSError):
            self._input.write(line + b"\n")
            self._input.flush()

    def answer(self) -> bytes:
        """The next line; b"" where it says no more."""
        return self._output.readline(LONGEST_ANSWER)

    def wait(self, seconds: float) -> int | None:
        """The exit status; None while it works, after so many seconds."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def last_lines(self) -> tuple[int, list[str]]:
        """The exit status, and what it wrote to its error output in the end. Waits for that end."""
        status = self._process.wait()
        self._listener.join()
        return status, list(self._lines)

    def _listen(self) -> None:
        for line in self._errors:
            if text := line.decode(errors="replace").rstrip()[:LONGEST_LINE]:
                self._lines.append(text)
                self._log(text)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._input, self._output, self._errors):
            _close(pipe)


@contextmanager
def errand(command: Sequence[str], log: Callable[[str], object]) -> Iterator[Errand]:
    """The answers of running models come first. Windows is told so here; elsewhere the program says it of itself."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=start_folder(),
        creationflags=flags,
    )
    work = Errand(process, log)
    try:
        yield work
    finally:
        work.end()


def _close(pipe: IO[bytes]) -> None:
    with suppress(OSError):  # what was not sent to a process that is gone
        pipe.close()
