"""Loading, waiting, reloading and giving up, seen by clients of a real server with real runner processes."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import psutil
import pytest

from server.client import Client
from tests.golden.server import RunningServer
from tests.serve.installed import server_with_models

SKY = "The sky is blue because of Rayleigh scattering."
ENDLESS = {"model": "bare", "prompt": "LOOP", "raw": True, "options": {"num_predict": 1_000_000}}
WAIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def roomy(models: pathlib.Path) -> Iterator[RunningServer]:
    """Holds several models."""
    with server_with_models(models, ("e", "embedding.gguf")) as running:
        yield running


@pytest.fixture(scope="module")
def narrow(models: pathlib.Path) -> Iterator[RunningServer]:
    """Holds one model, and lets one request wait."""
    settings = {"OLLAMA_MAX_LOADED_MODELS": "1", "OLLAMA_MAX_QUEUE": "1"}
    with server_with_models(models, ("e", "embedding.gguf"), **settings) as running:
        yield running


def post(server: RunningServer, path: str, body: dict[str, Any]) -> httpx2.Response:
    return httpx2.post(server.base + path, json={"stream": False, **body}, timeout=WAIT_SECONDS, trust_env=False)


def sky(server: RunningServer, **more: Any) -> None:
    answer = post(server, "/api/generate", {"model": "m", "prompt": "SKY", "raw": True, **more})
    assert (answer.status_code, answer.json()["response"]) == (200, SKY)


def loaded(server: RunningServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx2.get(server.base + "/api/ps", trust_env=False).json()["models"]
    return found


def runners(server: RunningServer) -> set[int]:
    children = psutil.Process(server.process.pid).children(recursive=True)
    found = set()
    for child in children:
        with contextlib.suppress(psutil.Error):
            if "server.engine" in child.cmdline() and "devices" not in child.cmdline():
                found.add(child.pid)
    return found


def until(server: RunningServer, is_reached: Callable[[list[dict[str, Any]]], bool]) -> None:
    """Read the server's own events until its models are as wanted."""
    with Client(server.base) as client, client.events() as events:
        assert any(is_reached(event["models"]) for event in events)


def nothing_loaded(models: list[dict[str, Any]]) -> bool:
    return not models


def unload_all(server: RunningServer) -> None:
    for name in ("m", "bare"):
        post(server, "/api/generate", {"model": name, "keep_alive": 0})
    until(server, lambda models: all(model["name"] == "e:latest" for model in models))


@contextlib.contextmanager
def sent(server: RunningServer, body: dict[str, Any]) -> Iterator[socket.socket]:
    """A request on its way; the client leaves at the end."""
    content = json.dumps(body).encode()
    head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(content)
    with socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_SECONDS) as connection:
        connection.sendall(head + content)
        yield connection


TRIES = 20
# What may change between two requests, and what may not, in this order.
CHANGES: list[tuple[dict[str, Any], bool]] = [
    ({"options": {"temperature": 0.1, "seed": 5, "top_k": 3, "num_predict": 40, "num_keep": 9}}, False),
    ({"options": {"num_gpu": -5}}, False),
    ({"options": {"num_ctx": 1024}}, False),
    ({"options": {"draft_num_predict": 0, "use_mmap": None}}, False),
    ({"options": {"num_ctx": 512}}, True),
    ({"options": {"num_ctx": 512}}, False),
    ({"options": {"num_thread": 1}}, True),
    ({"options": {"use_mmap": True, "num_thread": 1}}, True),
    ({"options": {"num_gpu": 0, "num_batch": 64}}, True),
    ({"options": {"num_batch": 64}}, False),
    ({"shift": False}, True),
    ({"shift": False}, False),
    ({"shift": True}, True),
    ({}, False),
]


def test_what_reloads_a_model_and_what_does_not(roomy: RunningServer) -> None:
    """native-api 89 to 93, runtime 44 to 47 and 49"""
    sky(roomy)
    before = runners(roomy)
    for change, reloads in CHANGES:
        sky(roomy, **change)
        now = runners(roomy)
        assert (len(now - before) == 1) is reloads, change
        before = now


def test_the_context_is_what_the_model_and_the_request_say(roomy: RunningServer) -> None:
    """native-api 109, 110, 113, 114, runtime 67, 69"""
    assert (
        post(roomy, "/api/create", {"model": "stored", "from": "m", "parameters": {"num_ctx": 640}}).status_code == 200
    )
    unload_all(roomy)
    for model, options, expected in [
        ("m", {}, 1024),  # the server's OLLAMA_CONTEXT_LENGTH
        ("stored", {}, 640),
        ("stored", {"num_ctx": 700}, 700),
        ("m", {"num_ctx": 10**9}, 8192),
        ("m", {"num_ctx": -5}, 4),
    ]:
        assert post(roomy, "/api/generate", {"model": model, "options": options}).json()["done_reason"] == "load"
        assert [entry["context_length"] for entry in loaded(roomy)] == [expected]
        unload_all(roomy)


def _state(server: RunningServer, name: str) -> str:
    """Of a model, asked anew each time: events come too seldom to show every load. "" where it is not there."""
    with Client(server.base) as client:
        return next((str(model["state"]) for model in client.status()["models"] if model["name"] == name), "")


def _taken_back(server: RunningServer) -> set[int]:
    """The runners of a load that ended because its client left; none where the load was over before that."""
    unload_all(server)
    with sent(server, {"model": "m", "prompt": "SKY"}):
        while not (state := _state(server, "m:latest")):
            pass
        started = runners(server)
    while state == "loading":
        state = _state(server, "m:latest")
    return set() if state else started


def test_a_client_that_leaves_during_the_load_takes_it_back(roomy: RunningServer) -> None:
    """native-api 96, runtime 55"""
    started = next(filter(None, (_taken_back(roomy) for _ in range(TRIES))))
    assert loaded(roomy) == []
    assert not psutil.wait_procs([psutil.Process(pid) for pid in started if psutil.pid_exists(pid)], timeout=10)[1]
    sky(roomy)


def test_a_client_that_leaves_during_the_answer_ends_it_alone(roomy: RunningServer) -> None:
    """native-api 97"""
    with sent(roomy, ENDLESS) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
    until(roomy, lambda models: any(m["name"] == "bare:latest" and m["active"] == 0 for m in models))
    assert "bare:latest" in [entry["name"] for entry in loaded(roomy)]


def test_a_full_queue_refuses_and_says_when_to_come_back(narrow: RunningServer) -> None:
    """native-api 95, runtime 41, 51: one request is in hand, one waits, one is refused; the first waits for the answer
    that runs, and the second for the first."""
    asked = [("m", "/api/generate", {"prompt": "SKY"}), ("e", "/api/embed", {"input": "SKY"}), ("m", "/api/chat", {})]
    with ThreadPoolExecutor(3) as pool, sent(narrow, ENDLESS) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        waiting = [pool.submit(post, narrow, path, {"model": name, **body}) for name, path, body in asked]
        refused = [answer for answer in _first_done(waiting)]
        assert [answer.status_code for answer in refused] == [503]
        assert refused[0].json() == {"error": "server busy, please try again.  maximum pending requests exceeded"}
        assert int(refused[0].headers["retry-after"]) >= 1
        assert [entry["name"] for entry in loaded(narrow)] == ["bare:latest"]
        connection.close()
        answers = [future.result(WAIT_SECONDS) for future in waiting]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503]
    assert len(loaded(narrow)) == 1


def _first_done(futures: list[Any]) -> list[httpx2.Response]:
    from concurrent.futures import FIRST_COMPLETED, wait

    return [future.result() for future in wait(futures, WAIT_SECONDS, FIRST_COMPLETED).done]


def test_two_busy_clients_cannot_starve_a_third(narrow: RunningServer) -> None:
    """Fairness: a steady stream of requests for one model lets another one in."""
    is_served = False
    with ThreadPoolExecutor(3) as pool:

        def keep_asking() -> int:
            count = 0
            while not is_served and time.monotonic() < deadline:
                count += post(narrow, "/api/generate", {"model": "m", "prompt": "COUNT"}).status_code == 200
            return count

        deadline = time.monotonic() + WAIT_SECONDS
        post(narrow, "/api/generate", {"model": "m"})
        busy = [pool.submit(keep_asking) for _ in range(2)]
        answer = post(narrow, "/api/embed", {"model": "e", "input": "SKY"})
        is_served = True
        assert answer.status_code in (200, 503)
        assert all(future.result(WAIT_SECONDS) >= 0 for future in busy)
    assert answer.status_code == 200


def test_a_signal_ends_a_server_that_loads_and_answers(models: pathlib.Path) -> None:
    """runtime 38"""
    with server_with_models(models) as server, sent(server, ENDLESS) as busy:
        assert busy.recv(65536).startswith(b"HTTP/1.1 200 OK")
        with sent(server, {"model": "m", "prompt": "SKY"}):
            while not _state(server, "m:latest"):
                pass
            children = psutil.Process(server.process.pid).children(recursive=True)
            os.kill(server.process.pid, signal.SIGTERM)
            rest = b"".join(iter(lambda: busy.recv(65536), b""))
        assert server.process.wait(WAIT_SECONDS) == 0
        assert b'{"error":' in rest.splitlines()[-4]
        assert not psutil.wait_procs(children, timeout=WAIT_SECONDS)[1]


def test_weights_that_are_gone_are_a_model_that_is_not_there(models: pathlib.Path) -> None:
    """runtime 94, native-api 5.5; the model that is loaded is still listed with all that is known of it"""
    with server_with_models(models) as server:
        sky(server)
        [entry] = loaded(server)
        weights = max((server.home / "models" / "blobs").glob("sha256-*"), key=lambda path: path.stat().st_size)
        for blob in (server.home / "models" / "blobs").glob("sha256-*"):
            if blob.stat().st_size > weights.stat().st_size // 2:
                blob.unlink()
        for path, body in {
            "/api/generate": {"prompt": "x"},
            "/api/chat": {"messages": [{"role": "user", "content": "x"}]},
            "/api/embed": {"input": "x"},
            "/api/embeddings": {"prompt": "x"},
        }.items():
            answer = post(server, path, {"model": "m", **body})
            assert (answer.status_code, answer.json()) == (
                404,
                {"error": 'model "m" not found, try pulling it first'},
            )
        httpx2.request("DELETE", server.base + "/api/delete", json={"model": "m"}, trust_env=False).raise_for_status()
        [left] = loaded(server)
        assert (left["name"], left["details"]) == ("m:latest", entry["details"])
        assert entry["details"]["family"] == "llama"
