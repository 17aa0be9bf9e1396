"""Choosing a build of the CPU code: scores order, trials decide, the answer is remembered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from server.engine import cpu
from server.errors import RunnerStartFailed

# Stands for `python -m server.engine`: dies of an illegal instruction for libraries that hold the word "amx".
TRIAL = """
import os, pathlib, signal, sys
word, library = sys.argv[1:]
assert word == "try-cpu"
path = pathlib.Path(library)
with open(path.parent / "tried", "a") as log:
    log.write(path.stem + "\\n")
if "amx" in path.read_text():
    os.kill(os.getpid(), signal.SIGILL)
sys.exit(1 if "wrong" in path.read_text() else 0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three made-up variants; the best of them lies."""
    contents = {"x64": "ok", "haswell": "ok", "sapphirerapids": "amx"}
    for name, content in contents.items():
        (tmp_path / f"libggml-cpu-{name}.so").write_text(content)
    (tmp_path / "libggml-base.so").write_text("")
    (tmp_path / "libggml-cuda.so").write_text("")
    (tmp_path / "trial.py").write_text(TRIAL)
    return tmp_path


SCORES = {"x64": 1, "haswell": 64, "sapphirerapids": 900, "zen4": 0}


def choose(folder: Path, cache: Path | None) -> str:
    variants = cpu.cpu_variants(cpu.backend_libraries([folder]))
    command = [sys.executable, str(folder / "trial.py")]
    chosen = cpu.choose(
        variants, cache, lambda path: cpu.survives(command, path), lambda path: SCORES[cpu.variant_name(path)]
    )
    assert chosen is not None
    return cpu.variant_name(chosen)


def tried(folder: Path) -> list[str]:
    log = folder / "tried"
    return log.read_text().split() if log.exists() else []


def test_a_variant_that_dies_gives_way_to_the_next_lower_one(folder: Path) -> None:
    assert choose(folder, None) == "haswell"
    assert tried(folder) == ["libggml-cpu-sapphirerapids", "libggml-cpu-haswell"]


def test_the_answer_is_remembered(folder: Path) -> None:
    cache = folder / "cache" / "puna"
    assert choose(folder, cache) == "haswell"
    (folder / "tried").unlink()
    assert choose(folder, cache) == "haswell"
    assert tried(folder) == []
    assert [path.name for path in cache.iterdir()] == [cpu.CACHE_NAME], "nothing half-written stays"


def test_another_library_means_another_trial(folder: Path) -> None:
    choose(folder, folder)
    (folder / "libggml-cpu-haswell.so").write_text("wrong!")
    assert choose(folder, folder) == "x64"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"key": 1}', '{"key": "other", "variant": "sapphirerapids"}'])
def test_a_damaged_memory_is_no_memory(folder: Path, content: str) -> None:
    (folder / cpu.CACHE_NAME).write_text(content)
    assert choose(folder, folder) == "haswell"


def test_a_folder_that_cannot_be_written_does_not_matter(folder: Path) -> None:
    (folder / "file").write_text("")
    assert choose(folder, folder / "file") == "haswell"


def test_variants_that_score_nothing_are_not_tried(folder: Path) -> None:
    (folder / "libggml-cpu-zen4.so").write_text("ok")
    assert choose(folder, None) == "haswell"
    assert "libggml-cpu-zen4" not in tried(folder)


def test_when_none_survives_the_sentence_says_so(folder: Path) -> None:
    for name in ("x64", "haswell"):
        (folder / f"libggml-cpu-{name}.so").write_text("amx")
    with pytest.raises(RunnerStartFailed, match="No build of the CPU code runs on this processor") as failure:
        choose(folder, None)
    assert "sapphirerapids" in failure.value.log


def test_a_trial_that_cannot_start_fails() -> None:
    assert not cpu.survives(["/nonexistent/program"], Path("lib.so"))


def test_without_variants_there_is_nothing_to_choose() -> None:
    assert cpu.choose([], None, lambda path: False) is None


@pytest.mark.parametrize(
    ("file", "name"),
    [("libggml-cpu-zen4.so", "zen4"), ("ggml-cpu-haswell.dll", "haswell"), ("libggml-cpu-apple_m1.so", "apple_m1")],
)
def test_names_on_every_system(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).write_text("")
    libraries = cpu.backend_libraries([tmp_path])
    assert [cpu.variant_name(path) for path in cpu.cpu_variants(libraries)] == [name]


def test_other_backends_are_found_beside(folder: Path) -> None:
    names = {path.name for path in cpu.backend_libraries([folder])}
    assert "libggml-cuda.so" in names
    assert "libggml-base.so" not in names


def test_the_real_trial_multiplies_on_this_machine() -> None:
    """engine.md 6.1: the installed variants, the worst of which runs everywhere."""
    from server.engine import bindings

    folders = cpu.search_folders(bindings.library_dir())
    variants = {cpu.variant_name(path): path for path in cpu.cpu_variants(cpu.backend_libraries(folders))}
    for name in variants.keys() & {"x64"}:
        done = subprocess.run(
            [sys.executable, "-m", "server.engine", "try-cpu", str(variants[name])], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
    done = subprocess.run(
        [sys.executable, "-m", "server.engine", "try-cpu", "/nonexistent.so"], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"cannot be loaded" in done.stderr
