"""How many threads compute."""

from __future__ import annotations

import os

SMALL_MACHINE_CORES = 4  # up to here every core is needed; above, one is left for the server and the desktop


def physical_cores() -> int:
    """Cores without their hyperthreads, as far as this process may use them."""
    import psutil

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    logical = os.cpu_count() or cores
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    return max(min(cores, allowed), 1)


def default_threads() -> int:
    cores = physical_cores()
    return cores - 1 if cores > SMALL_MACHINE_CORES else cores


def wanted_threads(wanted: int) -> int:
    """What a request asked for, as far as the machine has it: more threads than cores only wait for each other, and
    an absurd number would end the process. 0 and less leave the choice to us."""
    return min(wanted, os.cpu_count() or 1) if wanted > 0 else default_threads()
