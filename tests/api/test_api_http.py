"""Front page, unknown paths, methods, redirects and bodies (native-api 1-34), and routes of the cloud (291-296)."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator

import pytest

from tests.api.conftest import Server, Start

pytestmark = pytest.mark.anyio

JSON = "application/json; charset=utf-8"
WITH_BODY = [
    ("POST", "/api/generate"),
    ("POST", "/api/chat"),
    ("POST", "/api/embed"),
    ("POST", "/api/embeddings"),
    ("POST", "/api/show"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("POST", "/api/experimental/web_search"),
    ("POST", "/api/experimental/web_fetch"),
]


async def test_front_page(server: Server) -> None:
    """native-api 1, 2, runtime 37, compat-api 12"""
    answer = await server.client.get("/")
    assert (answer.status_code, answer.content) == (200, b"Ollama is running")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    answer = await server.client.head("/")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "17")


async def test_version_has_ours_beside_it(server: Server) -> None:
    """native-api 3, 4"""
    answer = await server.client.get("/api/version")
    assert answer.headers["content-type"] == JSON
    assert answer.json() == {"version": "0.33.0", "puna": "0.1.0"}
    assert answer.headers["server"] == "puna/0.1.0"
    assert (await server.client.head("/api/version")).content == b""


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("HEAD", "/api/ps", "GET"),  # native-api 6
        ("GET", "/api/generate", "POST"),  # native-api 8
        ("PUT", "/", "HEAD, GET"),  # native-api 9
        ("POST", "/api/delete", "DELETE"),  # native-api 10
        ("DELETE", "/api/tags", "HEAD, GET"),
        ("GET", "/api/blobs/sha256:00", "HEAD, POST"),  # native-api 263
        ("GET", "/api/me", "POST"),  # native-api 296
        ("OPTIONS", "/api/chat", "POST"),  # native-api 56
    ],
)
async def test_wrong_methods(server: Server, method: str, path: str, allow: str) -> None:
    answer = await server.client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["allow"] == allow
    assert answer.text == ("" if method == "HEAD" else "405 method not allowed")


@pytest.mark.parametrize("path", ["/nope", "/api/models?x=1", "/API/tags", "/api/blobs/a/b", "/nope/"])
async def test_unknown_paths(server: Server, path: str) -> None:
    """native-api 7"""
    answer = await server.client.get(path)
    assert (answer.status_code, answer.text) == (404, "404 page not found")
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    ("method", "path", "status", "location"),
    [
        ("GET", "/api/tags/", 301, "/api/tags"),  # native-api 11
        ("POST", "/api/generate/", 307, "/api/generate"),  # native-api 12
        ("POST", "//api/chat", 307, "/api/chat"),  # native-api 13
        ("POST", "/api/show/?a=b", 307, "/api/show?a=b"),
        ("GET", "/api//tags", 307, "/api/tags"),
        ("GET", "/\\evil.example//x", 307, "/%5Cevil.example/x"),
        ("POST", "//api///chat//", 307, "/api/chat/"),
    ],
)
async def test_stray_slashes(server: Server, method: str, path: str, status: int, location: str) -> None:
    answer = await server.client.request(method, f"http://127.0.0.1:11434{path}")
    assert (answer.status_code, answer.headers["location"]) == (status, location)
    if method == "GET":
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text.startswith(f'<a href="{location}">')
    else:
        assert answer.content == b""
        assert "content-type" not in answer.headers


@pytest.mark.parametrize(("method", "path"), WITH_BODY)
@pytest.mark.parametrize("body", [b"", b" \n"])
async def test_missing_bodies(server: Server, method: str, path: str, body: bytes) -> None:
    """native-api 14-16, 34, 294"""
    answer = await server.client.request(method, path, content=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == JSON
    assert answer.json() == {"error": "missing request body"}


async def test_the_content_type_does_not_matter(server: Server) -> None:
    """native-api 27, 32"""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await server.client.post(
        "/api/chat", content=b'{"model":"m","messages":[{}],"stream":false}', headers=headers
    )
    assert answer.status_code == 200
    zipped = gzip.compress(b'{"model":"m"}', mtime=0)
    answer = await server.client.post("/api/chat", content=zipped, headers={"content-encoding": "gzip"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("invalid character")


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[[[[", b'{"model":', b"0", b'{"messages":[[]]}', b"[" * 100_000])
@pytest.mark.parametrize(("method", "path"), WITH_BODY[:10])
async def test_malformed_bodies_are_the_clients_mistake(server: Server, method: str, path: str, body: bytes) -> None:
    answer = await server.client.request(method, path, content=body)
    assert 400 <= answer.status_code < 500
    assert list(answer.json()) == ["error"]


async def test_an_unexpected_failure_is_logged_and_told(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("a wheel came off")

    server.scheduler.running = broken  # type: ignore[method-assign, assignment]
    answer = await server.client.get("/api/ps")
    assert answer.status_code == 500
    assert "went wrong inside Puna" in answer.json()["error"]
    assert "a wheel came off" in caplog.text


async def test_cloud_routes(server: Server) -> None:
    """native-api 291-296"""
    assert (await server.client.get("/api/status")).json() == {"cloud": {"disabled": True, "source": "env"}}
    assert (await server.client.get("/api/experimental/model-recommendations")).json() == {"recommendations": []}
    answer = await server.post("/api/experimental/web_search", {"query": "sky"})
    assert (answer.status_code, answer.json()) == (
        403,
        {"error": "ollama cloud is disabled: web search is unavailable"},
    )
    answer = await server.post("/api/experimental/web_fetch", {"url": "http://x"})
    assert answer.json() == {"error": "ollama cloud is disabled: web fetch is unavailable"}
    answer = await server.post("/api/me")
    assert (answer.status_code, answer.json()) == (503, {"error": "account unavailable"})
    answer = await server.post("/api/signout")
    assert (answer.status_code, answer.json()) == (401, {"error": "you are not currently signed in"})
    assert (await server.client.delete("/api/user/keys/abc")).status_code == 401


async def test_the_log_has_one_line_per_request(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="server.api.access")
    await start().client.get("/api/version?secret=1")
    await start().client.get("/a%0Aforged")
    lines = [record.getMessage() for record in caplog.records if record.name == "server.api.access"]
    assert len(lines) == 2
    assert lines[0].startswith("200 | ")
    assert lines[0].endswith('| 127.0.0.1 | GET "/api/version"')
    assert lines[1].endswith('GET "/a%0Aforged"')


@pytest.fixture
def temporary_folder(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Where temporary files go during one test."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path)
    yield tmp_path
    tempfile.tempdir = before


def written(folder: pathlib.Path) -> dict[str, str]:
    """Dumped files by name, each readable by its owner alone."""
    files = sorted(folder.glob("puna-request-logs-*/*"))
    assert os.name != "posix" or all(file.stat().st_mode & 0o077 == 0 for file in files)
    return {file.name: file.read_text() for file in files}


async def test_request_bodies_are_written_down_when_asked_for(start: Start, temporary_folder: pathlib.Path) -> None:
    """runtime 97"""
    server = start(log_requests=True)
    await server.post("/api/chat", {"model": "m", "messages": [{}]}, headers={"authorization": "Bearer secret"})
    (body_name, body), (script_name, script) = written(temporary_folder).items()
    assert body_name.endswith("-000001_api_chat_body.json")
    assert json.loads(body) == {"model": "m", "messages": [{}]}
    assert script_name.endswith("-000001_api_chat_request.sh")
    assert "http://127.0.0.1:11434/api/chat" in script
    assert "secret" not in script


async def test_request_bodies_are_not_written_down_otherwise(start: Start, temporary_folder: pathlib.Path) -> None:
    await start().post("/api/chat", {"model": "m", "messages": [{}]})
    assert written(temporary_folder) == {}
