"""How a runner process ended, in a sentence. Plain values in, plain values out."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable

ILLEGAL_INSTRUCTION = 0xC000001D  # the Windows exit status
ACCESS_VIOLATION = 0xC0000005
TELLING = (
    "error", "Error", "GGML_ASSERT", "ggml_abort", "terminate called", "what():", "fatal", "panic", "CUDA", "ROCm",
    "failed", "out of memory", "Traceback", "Exception",
)  # fmt: skip
LAST_WORDS_BYTES = 2048


def last_words(lines: Iterable[str]) -> str:
    """The newest lines that look like a cause, at most LAST_WORDS_BYTES."""
    chosen = [line.strip() for line in lines if any(mark in line for mark in TELLING)]
    return "; ".join(chosen)[-LAST_WORDS_BYTES:]


def is_killed(code: int | None, *, windows: bool = sys.platform == "win32") -> bool:
    """Whether someone else ended the process: on Linux and macOS nearly always the system, out of memory."""
    return not windows and code == -signal.SIGKILL


def describe_end(code: int | None, lines: Iterable[str], *, windows: bool = sys.platform == "win32") -> str:
    """What the end of the process means to the user. `code` is negative for a signal, None if unknown."""
    words = last_words(lines)
    detail = f" Its last words: {words}" if words else ""
    status = (code or 0) & 0xFFFFFFFF if windows else code
    if status == ILLEGAL_INSTRUCTION or (not windows and code == -signal.SIGILL):
        return (
            "The model's process stopped at an illegal instruction: this processor reports instructions that the "
            "system does not allow. Delete the file cpu-variants.json in Puna's cache folder, so that a build which "
            "runs here is chosen again."
        )
    if is_killed(code, windows=windows):
        return (
            "The model's process was killed, most likely because memory ran out. Close other programs, choose a "
            f"smaller model or lower its context length (num_ctx).{detail}"
        )
    if not windows and code == -signal.SIGABRT:
        return f"The model's process gave up (abort).{detail or ' It said nothing; the log may say more.'}"
    if (windows and status == ACCESS_VIOLATION) or (not windows and code == -signal.SIGSEGV):
        return f"The model's process crashed (invalid memory access).{detail}"
    if not windows and code is not None and code < 0:
        return f"The model's process was ended by {_signal_name(-code)}.{detail}"
    number = "unknown" if code is None else f"0x{status:08X}" if windows and (status or 0) > 255 else str(code)
    return f"The model's process has ended unexpectedly (exit status {number}).{detail}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
