"""System memory, as far as this process may use it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class SystemMemory:
    total_bytes: int
    free_bytes: int


def read_system_memory() -> SystemMemory:
    """What is installed and what can be had without swapping, within the limits of the control groups above us."""
    import psutil

    machine = psutil.virtual_memory()
    return within_cgroups(SystemMemory(machine.total, machine.available))


def within_cgroups(memory: SystemMemory, root: Path = Path("/")) -> SystemMemory:
    """The tightest limit from this process's cgroup v2 up to the root; `memory` itself where there is none.

    File pages that the kernel would drop under pressure count as free: reading a model fills the group's account
    with them, and nobody means those when asking what is left. `root` is the file system to look in.
    """
    total, free = memory.total_bytes, memory.free_bytes
    mount = root / "sys/fs/cgroup"
    for folder in _folders(mount, root / "proc/self/cgroup"):
        limit = _number(folder / "memory.max")
        if limit is None:
            continue
        used = (_number(folder / "memory.current") or 0) - _inactive_file_bytes(folder)
        total = min(total, limit)
        free = min(free, max(0, limit - max(0, used)))
    return SystemMemory(total, free)


def _folders(mount: Path, membership: Path) -> list[Path]:
    """This process's control group and those that hold it, innermost first."""
    line = re.search(r"^0::(/.*)$", _text(membership), re.MULTILINE)
    if line is None:
        return []
    group = PurePosixPath(line[1].strip())
    # Inside a container the path may name folders of the host that are not mounted here; the mount itself is then ours.
    return [mount.joinpath(*path.parts[1:]) for path in (group, *group.parents) if ".." not in path.parts]


def _inactive_file_bytes(folder: Path) -> int:
    found = re.search(r"^inactive_file (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
    return int(found[1]) if found else 0


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None  # no limit is the word "max"


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii", errors="replace")
    except OSError:
        return ""
