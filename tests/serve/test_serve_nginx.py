"""Behind a real nginx, set up as the guides do it: a password in front, nothing collected on the way (runtime 15)."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Iterator

import httpx2
import pytest

from server.client import Client
from tests.golden.server import RunningServer, free_port

START_SECONDS = 20.0
PASSWORD = ("lama", "s3cret")
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        auth_basic "Puna";
        auth_basic_user_file {folder}/passwords;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_set_header Host {host};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 300s;
        }}
    }}
}}
"""


def nginx_command() -> str:
    found = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        pytest.fail("nginx is not installed; these tests need a real one: sudo apt-get install nginx-light")
    return found


@contextlib.contextmanager
def nginx(folder: pathlib.Path, upstream: int, host: str) -> Iterator[str]:
    """A proxy in front of the port `upstream`; the address it listens on."""
    port = free_port()
    (folder / "passwords").write_text("{}:{{PLAIN}}{}\n".format(*PASSWORD))
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, upstream=upstream, host=host))
    log = folder / "error.log"
    process = subprocess.Popen([nginx_command(), "-p", str(folder), "-e", str(log), "-c", str(configuration)])
    try:
        base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _answers(base):
            assert time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                pytest.fail(f"nginx ended early: {log.read_text()}")
        yield base
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _answers(base: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(base, trust_env=False).status_code == 401
    return False


@pytest.fixture
def proxy(shared_server: RunningServer, tmp_path: pathlib.Path) -> Iterator[str]:
    with nginx(tmp_path, shared_server.port, "localhost:11434") as base:
        yield base


@pytest.mark.parametrize("given", [None, ("lama", "wrong"), ("someone", "s3cret")])
def test_nobody_comes_in_without_the_password(proxy: str, given: tuple[str, str] | None) -> None:
    assert httpx2.get(f"{proxy}/api/tags", auth=given, trust_env=False).status_code == 401


def test_a_chat_comes_through_word_by_word(proxy: str, shared_server: RunningServer) -> None:
    """The answer has no end, so its first words can only have been sent on while it was made."""
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "LOOP"}],
        "options": {"num_predict": 1_000_000, "num_ctx": 1024},
    }
    with (
        httpx2.Client(base_url=proxy, auth=PASSWORD, trust_env=False, timeout=60) as client,
        client.stream("POST", "/api/chat", json=body) as answer,
    ):
        assert answer.status_code == 200
        lines = answer.iter_lines()
        words = [json.loads(next(lines))["message"]["content"] for _ in range(4)]
    assert words == ["again", " and", "again", " and"]
    with (
        Client(shared_server.base) as watcher,
        watcher.events() as events,
    ):  # it ends when the client behind nginx leaves
        assert any(all(model["active"] == 0 for model in event["models"]) for event in events)


def test_a_large_file_comes_through(proxy: str, models: pathlib.Path) -> None:
    """nginx refuses bodies above 1 MB unless it is told otherwise; its answer, not a broken connection."""
    with httpx2.Client(base_url=proxy, auth=PASSWORD, trust_env=False, timeout=60) as client:
        answer = client.post(f"/api/blobs/sha256:{'0' * 64}", content=(models / "scripted.gguf").read_bytes())
    assert answer.status_code == 413


def test_a_host_of_its_own_is_refused_by_the_server(shared_server: RunningServer, tmp_path: pathlib.Path) -> None:
    """`Host $host` hands on the name that the client used, which a server on loopback does not take for its own."""
    with (
        nginx(tmp_path, shared_server.port, "$host") as base,
        httpx2.Client(base_url=base, auth=PASSWORD, trust_env=False) as client,
    ):
        assert client.get("/api/tags", headers={"Host": "puna.example.com"}).status_code == 403
        assert client.get("/api/tags", headers={"Host": "localhost"}).status_code == 200
