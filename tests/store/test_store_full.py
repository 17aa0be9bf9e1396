"""A real disk that is full: a clear sentence, nothing half-made, and deleting still works."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from server.errors import DiskFull
from tests.store.conftest import MODELS

ROOT = Path(__file__).parents[2]
DISK_BYTES = 4 * 1024 * 1024  # room for one of the test models, and not for two


def mounted(command: list[str], disk: Path) -> list[str]:
    """The command in a mount name space of its own, where `disk` is a small file system."""
    words = " ".join(map(shlex.quote, command))
    mount = f"mount -t tmpfs -o size={DISK_BYTES} tmpfs {shlex.quote(str(disk))}"
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f"{mount} && exec {words}"]


def can_mount(disk: Path) -> bool:
    try:
        return subprocess.run(mounted(["true"], disk), capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_a_full_disk(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this system lets nobody mount a small disk")
    command = [sys.executable, "-m", "tests.store.full_disk_child", str(tmp_path), str(MODELS)]
    done = subprocess.run(mounted(command, tmp_path), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["outcomes"]) == 7
    for name, (kind, sentence, is_as_before) in result["outcomes"].items():
        assert (kind, sentence) == ("DiskFull", str(DiskFull())), name
        assert is_as_before, name
    assert result["freed"] > DISK_BYTES / 2
    assert result["left"] == []
