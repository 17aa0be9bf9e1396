"""System memory within control groups, with a file system made for the purpose."""

from __future__ import annotations

from pathlib import Path

from server.hardware.memory import SystemMemory, read_system_memory, within_cgroups

MACHINE = SystemMemory(total_bytes=1000, free_bytes=800)


def write(root: Path, membership: str, **files: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(membership)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert within_cgroups(MACHINE, tmp_path) == MACHINE


def test_no_limit_is_the_word_max(tmp_path: Path) -> None:
    write(tmp_path, "0::/a\n", a__memory_dot_max="max\n", a__memory_dot_current="5\n")
    assert within_cgroups(MACHINE, tmp_path) == MACHINE


def test_the_limit_of_our_group(tmp_path: Path) -> None:
    write(tmp_path, "0::/a\n", a__memory_dot_max="300\n", a__memory_dot_current="100\n")
    assert within_cgroups(MACHINE, tmp_path) == SystemMemory(300, 200)


def test_the_tightest_of_all_groups_above_counts(tmp_path: Path) -> None:
    write(
        tmp_path, "1:name=systemd:/x\n0::/a/b\n",
        a__memory_dot_max="300\n", a__memory_dot_current="250\n", a__b__memory_dot_max="400\n",
        a__b__memory_dot_current="1\n",
    )  # fmt: skip
    assert within_cgroups(MACHINE, tmp_path) == SystemMemory(300, 50)


def test_file_pages_that_can_be_dropped_are_free(tmp_path: Path) -> None:
    write(
        tmp_path, "0::/\n", memory_dot_max="300\n", memory_dot_current="290\n",
        memory_dot_stat="anon 20\ninactive_file 270\n",
    )  # fmt: skip
    assert within_cgroups(MACHINE, tmp_path) == SystemMemory(300, 280)


def test_a_group_beyond_the_container_is_looked_up_at_the_mount(tmp_path: Path) -> None:
    write(tmp_path, "0::/../host/group\n", memory_dot_max="300\n", memory_dot_current="400\n")
    assert within_cgroups(MACHINE, tmp_path) == SystemMemory(300, 0)


def test_this_machine_has_memory() -> None:
    memory = read_system_memory()
    assert 0 < memory.free_bytes <= memory.total_bytes
