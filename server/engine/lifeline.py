"""A runner never outlives its parent: not when the parent is killed, not in the middle of a decode."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_PARENT_GONE = 3
NICENESS = 10


def bind_to_parent() -> None:
    """Ask Linux to kill this process with the thread that started it. Elsewhere the end of standard input does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def stand_back() -> None:
    """For work that may take its time: the answers of running models come first. Windows is told by the parent."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)


def die() -> None:
    """At once: no destructors, no waiting for threads that compute."""
    os._exit(EXIT_PARENT_GONE)


def claim_pipes() -> tuple[int, int]:
    """(command, event) descriptors. Standard input and output themselves lead nowhere and to the log from now on, so
    that nothing a library prints can damage a frame, and no child can hold the pipes open."""
    commands, events = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        for descriptor in (commands, events):
            msvcrt.setmode(descriptor, os.O_BINARY)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process politely
    return commands, events
