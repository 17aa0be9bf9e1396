"""Runners that die, hang or lose their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import psutil
import pytest

from server.errors import RunnerDied, RunnerStartFailed
from server.messages.frames import Delta, Event, FrameReader, LaunchPlan, Loaded, Submit, encode
from server.runner import Runner
from tests.runner.answers import ask
from tests.runner.conftest import Running

pytestmark = pytest.mark.anyio
GONE_SECONDS = 10.0

READY = """
os.read(0, 1 << 16)
os.write(1, encode([Loaded(context_tokens=8, slots=1, train_context_tokens=8, vocab_size=1, add_bos=False)]))
os.read(0, 1 << 16)
"""


async def test_kill_9_in_the_middle_of_answers_fails_each_of_them_once(running: Running) -> None:
    async with running(slots=2, context_tokens=4096) as runner:
        failures: list[str] = []

        async def one() -> None:
            with pytest.raises(RunnerDied) as failure:
                await ask(runner, "LOOP")
            failures.append(str(failure.value))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(one)
            await anext(answer := runner.generate("LOOP"))
            os.kill(runner.pid, signal.SIGKILL)
        with pytest.raises(RunnerDied):
            async for _ in answer:
                pass
        assert len(failures) == 4
        assert all("was killed" in failure for failure in failures)
        assert "was killed" in await runner.wait()
        assert "ended" in repr(runner)
        with pytest.raises(RunnerDied, match="was killed"):
            await runner.tokenize("x")


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        ("os.kill(os.getpid(), signal.SIGILL)", "reports instructions that the system does not allow"),
        ("os.write(2, b'GGML_ASSERT(x > 0) failed\\n'); os.abort()", "GGML_ASSERT"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "invalid memory access"),
        ("sys.exit(5)", "exit status 5"),
        ("os.write(1, b'\\xff\\xff\\xff\\xffnonsense'); signal.pause()", "no valid frame"),
    ],
)
async def test_a_request_says_how_the_process_ended(
    running: Running, fake_engine: Callable[[str], list[str]], end: str, sentence: str
) -> None:
    async with running(command=fake_engine(READY + end)) as runner:
        with pytest.raises(RunnerDied, match=sentence.replace("(", r"\(")), anyio.fail_after(GONE_SECONDS):
            await ask(runner, "SKY")


async def test_a_stopped_process_is_ended_all_the_same(running: Running) -> None:
    async with running() as runner:
        answer = runner.generate("LOOP")
        assert isinstance(await anext(answer), Delta)
        os.kill(runner.pid, signal.SIGSTOP)
        with anyio.fail_after(GONE_SECONDS):
            await answer.aclose()
            await runner.stop(grace_seconds=0.1)
        assert not psutil.pid_exists(runner.pid)


async def test_a_process_that_hangs_is_ended_with_one_sentence(running: Running) -> None:
    async with running(stuck=0.3) as runner:
        assert (await ask(runner, "SKY")).text  # silence that nobody waits in is no hang
        answer = runner.generate("LOOP")
        assert isinstance(await anext(answer), Delta)
        os.kill(runner.pid, signal.SIGSTOP)
        with pytest.raises(RunnerDied, match="hung in the middle of an answer"), anyio.fail_after(GONE_SECONDS):
            async for _ in answer:
                pass
        assert not psutil.pid_exists(runner.pid)


async def test_cancelling_the_task_group_ends_the_process(models: Path, cpu_cache: Path) -> None:
    async with anyio.create_task_group() as tasks:
        plan = LaunchPlan(model_path=str(models / "scripted.gguf"), context_tokens=256, threads=1)
        runner = await Runner.start(plan, task_group=tasks, environ=dict(os.environ), cache_dir=cpu_cache)
        tasks.cancel_scope.cancel()
    assert not psutil.pid_exists(runner.pid)


def engine(cpu_cache: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "server.engine", "--cache", str(cpu_cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def read_until(process: subprocess.Popen[bytes], kind: type) -> None:
    assert process.stdout is not None
    frames: FrameReader[Event] = FrameReader(Event)
    while data := os.read(process.stdout.fileno(), 1 << 16):
        if any(isinstance(event, kind) for event in frames.feed(data)):
            return
    raise AssertionError(f"no {kind.__name__} came")


def test_closed_input_ends_the_process_in_the_middle_of_an_answer(models: Path, cpu_cache: Path) -> None:
    with engine(cpu_cache) as process:
        assert process.stdin is not None
        plan = LaunchPlan(model_path=str(models / "scripted.gguf"), context_tokens=8192, threads=1)
        process.stdin.write(encode([plan]))
        process.stdin.flush()
        read_until(process, Loaded)
        process.stdin.write(encode([Submit(id=1, prompt="LOOP")]))
        process.stdin.flush()
        read_until(process, Delta)
        process.stdin.close()
        assert process.wait(GONE_SECONDS) == 3


def test_closed_input_before_any_command_ends_the_process(cpu_cache: Path) -> None:
    with engine(cpu_cache) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(GONE_SECONDS) == 3


PARENT = """
import os, sys, anyio, pathlib
from server.messages.frames import LaunchPlan
from server.runner import Runner
async def main():
    async with anyio.create_task_group() as tasks:
        plan = LaunchPlan(model_path=sys.argv[1], context_tokens=8192, threads=1)
        runner = await Runner.start(
            plan, task_group=tasks, environ=dict(os.environ), cache_dir=pathlib.Path(sys.argv[2])
        )
        async for _ in runner.generate("LOOP"):
            print(runner.pid, flush=True)
anyio.run(main)
"""


def test_a_runner_dies_with_a_parent_that_is_killed(models: Path, cpu_cache: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(models / "scripted.gguf"), str(cpu_cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        runner = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        gone, _ = psutil.wait_procs([runner], GONE_SECONDS)
    assert gone or runner.status() == psutil.STATUS_ZOMBIE


async def test_a_command_that_does_not_exist(models: Path) -> None:
    async with anyio.create_task_group() as tasks:
        with pytest.raises(RunnerStartFailed, match="could not be started"):
            await Runner.start(
                LaunchPlan(model_path="x"), task_group=tasks, environ={}, command=["/nonexistent/program"]
            )
