"""Loads that fail, each with its cause, and loads that take their time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import psutil
import pytest

from server.errors import OutOfMemory, RunnerStartFailed, Unsupported
from server.messages.frames import LaunchPlan
from server.runner import Runner
from tests.runner.answers import ask
from tests.runner.conftest import Running

pytestmark = pytest.mark.anyio


async def refused(plan: LaunchPlan, cpu_cache: Path) -> RunnerStartFailed:
    """The failure of a load; no process stays."""
    async with anyio.create_task_group() as tasks:
        with pytest.raises(RunnerStartFailed) as failure:
            await Runner.start(plan, task_group=tasks, environ=dict(os.environ), cache_dir=cpu_cache)
    assert psutil.Process().children() == []
    return failure.value


async def test_garbage_is_refused_with_the_cause(tmp_path: Path, cpu_cache: Path) -> None:
    path = tmp_path / "garbage.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 4000)
    assert "could not be loaded" in str(await refused(LaunchPlan(model_path=str(path)), cpu_cache))


async def test_no_gguf_at_all(tmp_path: Path, cpu_cache: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_text("hello")
    failure = await refused(LaunchPlan(model_path=str(path)), cpu_cache)
    assert "invalid magic" in str(failure)


async def test_a_file_that_was_cut(tmp_path: Path, models: Path, cpu_cache: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes((models / "scripted.gguf").read_bytes()[:1_000_000])
    failure = await refused(LaunchPlan(model_path=str(path)), cpu_cache)
    assert "not within the file bounds" in str(failure)


async def test_a_file_that_is_not_there(tmp_path: Path, cpu_cache: Path) -> None:
    assert "is not there" in str(await refused(LaunchPlan(model_path=str(tmp_path / "no.gguf")), cpu_cache))


async def test_an_adapter_that_is_none(tmp_path: Path, models: Path, cpu_cache: Path) -> None:
    path = tmp_path / "adapter.gguf"
    path.write_text("hello")
    plan = LaunchPlan(model_path=str(models / "scripted.gguf"), adapter_paths=(str(path),))
    assert "adapter" in str(await refused(plan, cpu_cache))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kv_type": "q9_9"}, 'KV cache type "q9_9" is unknown'),
        ({"kv_type": "q8_0", "flash_attention": "off"}, "could not be created"),
        ({"device_indices": (77,)}, "There is no device 77"),
        ({"cpu_library": "/nonexistent/libggml-cpu-x.so"}, "cannot be loaded"),
    ],
)
async def test_plans_that_cannot_work(models: Path, cpu_cache: Path, change: dict[str, object], words: str) -> None:
    plan = LaunchPlan(model_path=str(models / "scripted.gguf"), **change)  # type: ignore[arg-type]
    assert words in str(await refused(plan, cpu_cache))


async def test_too_little_memory_is_told_apart(running: Running, cpu_cache: Path) -> None:
    """4 GiB of KV in a process that may have 2 GiB."""
    engine = f"exec {sys.executable} -m server.engine --cache {cpu_cache}"
    with pytest.raises(ExceptionGroup) as failure:
        async with running(command=["/bin/sh", "-c", f"ulimit -v 2097152; {engine}"], context_tokens=1 << 24, slots=1):
            raise AssertionError("it loaded")
    (error,) = failure.value.exceptions
    assert isinstance(error, OutOfMemory)
    assert "not enough memory" in str(error)


async def test_a_context_beyond_all_memory(models: Path, cpu_cache: Path) -> None:
    plan = LaunchPlan(model_path=str(models / "scripted.gguf"), context_tokens=1 << 30, slots=64)
    assert isinstance(await refused(plan, cpu_cache), OutOfMemory)


@pytest.mark.parametrize(
    "change",
    [{"kv_type": "q8_0"}, {"use_mmap": False}, {"flash_attention": "off"}, {"device_indices": ()}, {"gpu_layers": 0},
     {"kv_type": "F32"}, {"batch_tokens": 1, "slots": 3}],
)  # fmt: skip
async def test_plans_that_work(running: Running, change: dict[str, object]) -> None:
    async with running(**change) as runner:
        assert (await ask(runner, "z" * 50 + "SKY")).text.startswith("The sky is blue")


async def test_an_embedding_model_loads_but_does_not_talk(running: Running) -> None:
    async with running("embedding.gguf", embedding=True, context_tokens=64, batch_tokens=64) as runner:
        with pytest.raises(Unsupported, match="does not generate text"):
            await ask(runner, "SKY")
        assert await runner.tokenize("hello")


async def test_the_folder_one_is_in_does_not_matter(
    models: Path, cpu_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "m.gguf").write_bytes((models / "scripted.gguf").read_bytes())
    monkeypatch.chdir(tmp_path)
    async with anyio.create_task_group() as tasks:
        plan = LaunchPlan(model_path="m.gguf", threads=1)
        runner = await Runner.start(plan, task_group=tasks, environ=dict(os.environ), cache_dir=cpu_cache)
        await runner.stop()


async def test_progress_reaches_the_end(models: Path, cpu_cache: Path) -> None:
    fractions: list[float] = []
    async with anyio.create_task_group() as tasks:
        runner = await Runner.start(
            LaunchPlan(model_path=str(models / "scripted.gguf"), threads=1),
            task_group=tasks,
            environ=dict(os.environ),
            cache_dir=cpu_cache,
            on_progress=fractions.append,
        )
        await runner.stop()
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


async def test_silence_ends_a_load(running: Running, fake_engine: Callable[[str], list[str]]) -> None:
    code = "os.write(2, b'error: the disk is slow\\n'); signal.pause()"
    with pytest.raises(ExceptionGroup) as failure:
        async with running(command=fake_engine(code), silence=1.0):
            raise AssertionError("it loaded")
    (error,) = failure.value.exceptions
    assert isinstance(error, RunnerStartFailed)
    assert "silent for 1 seconds" in str(error)
    assert "the disk is slow" in str(error)


async def test_any_sign_of_life_restarts_the_silence(running: Running, fake_engine: Callable[[str], list[str]]) -> None:
    """Twelve lines in 1.2 seconds, although silence may last 1 second at most."""
    code = """
for number in range(12):
    select.select([], [], [], 0.1)
    if number % 2:
        os.write(2, b"still loading\\n")
    else:
        os.write(1, encode([LoadProgress(fraction=number / 12)]))
os.write(1, encode([Loaded(context_tokens=8, slots=1, train_context_tokens=8, vocab_size=1, add_bos=False)]))
os.read(0, 1 << 16)
os.read(0, 1 << 16)
"""
    async with running(command=fake_engine(code), silence=1.0) as runner:
        assert runner.loaded.context_tokens == 8


async def test_a_process_that_dies_while_loading(running: Running, fake_engine: Callable[[str], list[str]]) -> None:
    code = "os.read(0, 1 << 16); os.write(2, b'CUDA error: no kernel image\\n'); os.abort()"
    with pytest.raises(ExceptionGroup) as failure:
        async with running(command=fake_engine(code)):
            raise AssertionError("it loaded")
    (error,) = failure.value.exceptions
    assert isinstance(error, RunnerStartFailed)
    assert "CUDA error: no kernel image" in str(error)


async def test_a_process_that_is_killed_while_loading(
    running: Running, fake_engine: Callable[[str], list[str]]
) -> None:
    with pytest.raises(ExceptionGroup) as failure:
        async with running(command=fake_engine("os.read(0, 1 << 16); os.kill(os.getpid(), signal.SIGKILL)")):
            raise AssertionError("it loaded")
    (error,) = failure.value.exceptions
    assert isinstance(error, OutOfMemory)
    assert "was killed" in str(error)


async def test_a_load_that_nobody_waits_for_is_ended(running: Running, fake_engine: Callable[[str], list[str]]) -> None:
    with anyio.move_on_after(0.5):
        async with running(command=fake_engine("signal.pause()")):
            raise AssertionError("it loaded")
    assert psutil.Process().children() == []
