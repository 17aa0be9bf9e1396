"""Requests and answers of the client, over real HTTP."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from server.client import Client, file_digest
from server.errors import (
    DiskFull,
    Forbidden,
    InvalidRequest,
    NotFound,
    PunaError,
    ServerBusy,
    ServerNotRunning,
    ServerUnreachable,
)
from tests.client.fake_server import Answer, FakeServer, failing, ok


def test_inventory(fake: FakeServer) -> None:
    fake.routes[("GET", "/api/tags")] = ok({"models": [{"name": "a:latest"}]})
    fake.routes[("GET", "/api/ps")] = ok({"models": None})
    fake.routes[("POST", "/api/show")] = ok({"details": {}})
    fake.routes[("GET", "/puna/v1/status")] = ok({"state": "ready"})
    with Client(fake.url) as client:
        client.probe()
        assert client.version() == {"version": "0.33.0", "puna": "0.1.0"}
        assert client.tags() == [{"name": "a:latest"}]
        assert client.ps() == []
        assert client.show("a", verbose=True) == {"details": {}}
        assert client.status() == {"state": "ready"}
    assert fake.bodies("/api/show") == [{"model": "a", "verbose": True}]
    assert fake.asked[0].headers["User-Agent"].startswith("puna/")


def test_changes(fake: FakeServer) -> None:
    for route in (("POST", "/api/copy"), ("DELETE", "/api/delete")):
        fake.routes[route] = lambda asked: Answer()
    fake.routes[("POST", "/api/generate")] = ok({"done": True})
    with Client(fake.url) as client:
        client.copy("a", "b")
        assert client.delete("a") is None
        client.load("b", keep_alive="10m")
        client.unload("b")
    assert fake.bodies("/api/copy") == [{"source": "a", "destination": "b"}]
    assert fake.bodies("/api/delete") == [{"model": "a"}]
    assert fake.bodies("/api/generate") == [
        {"model": "b", "stream": False, "keep_alive": "10m"},
        {"model": "b", "stream": False, "keep_alive": 0},
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, InvalidRequest), (403, Forbidden), (404, NotFound), (422, InvalidRequest), (500, PunaError),
     (503, ServerBusy), (507, DiskFull)],
)  # fmt: skip
def test_errors_are_ours_with_the_servers_sentence(status: int, kind: type[PunaError], fake: FakeServer) -> None:
    fake.routes[("POST", "/api/copy")] = failing(status, "the sentence")
    with Client(fake.url) as client, pytest.raises(PunaError) as raised:
        client.copy("a", "b")
    assert type(raised.value) is kind
    assert (str(raised.value), raised.value.status) == ("the sentence", status)


def test_without_a_sentence_the_status_line_is_shown(fake: FakeServer) -> None:
    """cli 2"""
    with Client(fake.url) as client, pytest.raises(NotFound, match=r"^404 Not Found$"):
        client.status()


def test_an_answer_of_another_program_is_named(fake: FakeServer) -> None:
    fake.routes[("GET", "/api/tags")] = lambda asked: Answer(body=b"<html>")
    with Client(fake.url) as client, pytest.raises(PunaError, match="what listens there"):
        client.tags()


def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with Client(f"http://127.0.0.1:{taken.getsockname()[1]}") as client, pytest.raises(ServerNotRunning):
            client.probe()


def test_a_name_that_does_not_resolve_is_no_missing_server() -> None:
    with Client("http://no-such-host.invalid:1") as client, pytest.raises(ServerUnreachable) as raised:
        client.probe()
    assert not isinstance(raised.value, ServerNotRunning)


def test_a_path_in_the_address_stays_in_front(fake: FakeServer) -> None:
    """runtime 8"""
    fake.routes[("GET", "/under/here/api/tags")] = ok({"models": []})
    with Client(f"{fake.url}/under/here/") as client:
        assert client.tags() == []


def test_a_proxy_is_not_used_for_this_machine(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(fake.url) as client:
        client.probe()
    with Client("http://192.0.2.1:11434") as client, pytest.raises(ServerUnreachable):
        client.probe()


def test_blobs(fake: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "weights.gguf"
    file.write_bytes(bytes(range(256)) * 9000)
    digest = file_digest(file)
    assert digest == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    fake.routes[("HEAD", f"/api/blobs/{digest}")] = lambda asked: Answer(404)
    fake.routes[("POST", f"/api/blobs/{digest}")] = lambda asked: Answer(201)
    sent: list[int] = []
    with Client(fake.url) as client:
        assert client.has_blob(digest) is False
        client.upload_blob(file, digest, sent.append)
        fake.routes[("HEAD", f"/api/blobs/{digest}")] = lambda asked: Answer()
        assert client.has_blob(digest) is True
    assert fake.asked[1].body == file.read_bytes()
    assert sent[-1] == file.stat().st_size
    assert sent == sorted(sent)


def test_importing_the_client_is_light() -> None:
    code = "import sys, server.client; print([n for n in ('httpx2', 'psutil', 'http.client') if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"


ROOT = Path(__file__).parents[2]
