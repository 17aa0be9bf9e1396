"""The scripted model's known answers through the whole of Puna: HTTP, scheduler, runner process, llama.cpp."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from server.client import Client
from server.errors import PunaError
from tests.golden.server import RunningServer

ANSWERS = {
    "SKY": "The sky is blue because of Rayleigh scattering.",
    "COUNT": "one, two, three, four, five, six, seven, eight, nine, ten",
    "EMOJI": "Hi 🦙 done",
    "EMPTY": "",
    "anything": "Hello there, how can I help?",
}
ENDLESS = {"model": "bare", "prompt": "LOOP", "raw": True, "options": {"num_predict": 100_000}}


def said(client: Client, prompt: str, *, stream: bool = True) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": stream}
    with client.chat(body) as pieces:
        return "".join(piece["message"]["content"] for piece in pieces)


def runner_processes(server: RunningServer) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in children if "server.engine" in " ".join(child.cmdline())]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_known_answers_over_http(client: Client, stream: bool) -> None:
    for prompt, answer in ANSWERS.items():
        assert said(client, prompt, stream=stream) == answer


def test_known_answers_in_the_command_line(server: RunningServer) -> None:
    environ = {**os.environ, "OLLAMA_HOST": server.base, "HOME": str(server.home)}
    for prompt, answer in ANSWERS.items():
        done = subprocess.run(
            [sys.executable, "-m", "server.cli.main", "run", "m", prompt],
            capture_output=True, text=True, encoding="utf-8", env=environ, timeout=60, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == answer


def test_32_clients_each_get_their_own_text(server: RunningServer) -> None:
    prompts = [list(ANSWERS)[number % len(ANSWERS)] for number in range(32)]

    def ask(prompt: str) -> str:
        with Client(server.base) as client:
            return said(client, prompt)

    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(ask, prompts)) == [ANSWERS[prompt] for prompt in prompts]


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(server: RunningServer) -> None:
    def leave(_: int) -> str:
        with Client(server.base) as client, client.generate(ENDLESS) as pieces:
            return str(next(iter(pieces))["response"])

    def stay(prompt: str) -> str:
        with Client(server.base) as client:
            return said(client, prompt)

    prompts = [list(ANSWERS)[number % len(ANSWERS)] for number in range(31)]
    with ThreadPoolExecutor(32) as pool:
        left = pool.submit(leave, 0)
        assert list(pool.map(stay, prompts)) == [ANSWERS[prompt] for prompt in prompts]
        assert left.result() == "again"
    with Client(server.base) as client:
        _until_idle(client)


def test_a_dead_runner_fails_its_requests_once_and_comes_back(server: RunningServer, client: Client) -> None:
    """native-api 157-159, runtime 50: other models go on, the next request starts a new runner."""
    assert said(client, "SKY") == ANSWERS["SKY"]
    [other] = runner_processes(server)
    with client.generate(ENDLESS) as pieces:
        reading = iter(pieces)
        next(reading)
        [busy] = [process for process in runner_processes(server) if process.pid != other.pid]
        os.kill(busy.pid, signal.SIGKILL)
        with pytest.raises(PunaError, match="was killed"):
            for _ in reading:
                pass
    assert said(client, "SKY") == ANSWERS["SKY"]
    assert other.is_running()
    answer = _whole(client, {"model": "bare", "prompt": "SKY", "raw": True})
    assert answer["response"] == ANSWERS["SKY"]


def test_a_runner_killed_while_idle_is_replaced_at_once(server: RunningServer, client: Client) -> None:
    for _ in range(3):
        assert said(client, "SKY") == ANSWERS["SKY"]
        for process in runner_processes(server):
            os.kill(process.pid, signal.SIGKILL)


def test_a_file_that_is_no_model_is_refused_before_llama_cpp_sees_it(server: RunningServer, client: Client) -> None:
    from server.client import file_digest

    path = server.home / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 400)
    digest = file_digest(path)
    client.upload_blob(path, digest)
    with pytest.raises(PunaError), client.create({"model": "broken", "files": {"broken.gguf": digest}}) as progress:
        list(progress)
    assert [model["name"] for model in client.tags()] == ["bare:latest", "m:latest"]


def _whole(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    with client.generate({**body, "stream": False}) as pieces:
        [answer] = list(pieces)
    return answer


def _until_idle(client: Client) -> None:
    """Read status events until no stream runs any more."""
    with client.events() as events:
        for event in events:
            if all(model["active"] == 0 for model in event["models"]):
                return
