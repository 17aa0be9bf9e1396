"""How a process ended, in words."""

from __future__ import annotations

import signal

import pytest

from server.runner.outcome import describe_end, last_words


@pytest.mark.parametrize(
    ("code", "windows", "words"),
    [
        (-signal.SIGILL, False, "reports instructions that the system does not allow"),
        (0xC000001D, True, "reports instructions that the system does not allow"),
        (0xC000001D - (1 << 32), True, "reports instructions that the system does not allow"),
        (-signal.SIGKILL, False, "was killed, most likely because memory ran out"),
        (-signal.SIGABRT, False, "gave up (abort). Its last words: GGML_ASSERT(false) failed"),
        (-signal.SIGSEGV, False, "invalid memory access"),
        (0xC0000005, True, "invalid memory access"),
        (-signal.SIGTERM, False, "was ended by SIGTERM"),
        (-99, False, "was ended by signal 99"),
        (7, False, "has ended unexpectedly (exit status 7)"),
        (0xC0000017, True, "exit status 0xC0000017"),
        (None, False, "exit status unknown"),
    ],
)
def test_each_end_has_its_sentence(code: int | None, windows: bool, words: str) -> None:
    assert words in describe_end(code, ["loading", "GGML_ASSERT(false) failed"], windows=windows)


def test_last_words_are_the_lines_that_look_like_a_cause() -> None:
    lines = ["load_tensors: loading", "CUDA error: out of memory", "  current device: 0", "ggml_abort: x"]
    assert last_words(lines) == "CUDA error: out of memory; ggml_abort: x"
    assert len(last_words(["error " + "x" * 10_000])) == 2048
    assert last_words([]) == ""
