"""Blobs, create, copy, delete, pull and push on a real store (native-api 259-290), and what show and tags then say."""

from __future__ import annotations

import hashlib
import json
import pathlib
import threading
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx2
import pytest

from server.errors import NotFound, PunaError
from server.inference import Catalog
from server.messages.chat import Progress
from server.messages.names import ModelName
from tests.api.conftest import Connect, Server

pytestmark = pytest.mark.anyio

JSON = "application/json; charset=utf-8"
ZEROS = "0" * 64


def lines(answer: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


async def upload(server: Server, data: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    answer = await server.client.post(f"/api/blobs/{digest}", content=data)
    assert answer.status_code in (200, 201)
    return digest


async def install(server: Server, models: pathlib.Path, name: str = "m") -> None:
    digest = await upload(server, await anyio.Path(models / "bare.gguf").read_bytes())
    answer = await server.post("/api/create", {"model": name, "files": {"bare.gguf": digest}, "stream": False})
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    server.services.catalog.__dict__.clear()
    server.services.catalog.__class__ = Catalog
    server.services.catalog.__init__(server.services.store, None)


async def test_blobs(server: Server) -> None:
    """native-api 259-262"""
    data = b"hello, blob\n"
    path = f"/api/blobs/sha256:{hashlib.sha256(data).hexdigest()}"
    answer = await server.client.head(f"/api/blobs/sha256:{ZEROS}")
    assert (answer.status_code, answer.headers["content-type"], answer.headers["content-length"]) == (404, JSON, "102")
    assert answer.content == b""
    assert (await server.client.head("/api/blobs/foo")).status_code == 400
    answer = await server.client.post("/api/blobs/foo", content=b"x")
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid digest format"})
    answer = await server.client.post(f"/api/blobs/sha256:{ZEROS}", content=b"x")
    got = hashlib.sha256(b"x").hexdigest()
    assert answer.json() == {"error": f'digest mismatch, expected "sha256:{ZEROS}", got "sha256:{got}"'}
    answer = await server.client.post(path, content=data)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (201, b"", "0")
    assert "content-type" not in answer.headers
    assert (await server.client.head(path)).status_code == 200
    assert (await server.client.post(path, content=b"something else")).status_code == 200


async def test_an_upload_that_breaks_off_leaves_nothing(server: Server, connect: Connect) -> None:
    data = b"hello, blob\n"
    path = f"/api/blobs/sha256:{hashlib.sha256(data).hexdigest()}"
    connection = connect(server, path, b"")
    connection.cut(data[:5])
    await connection.run()
    assert connection.sent == []
    assert list(server.services.store.blobs.folder.iterdir()) == []


async def test_a_file_of_this_machine(server: Server, models: pathlib.Path) -> None:
    path = models / "bare.gguf"
    data = await anyio.Path(path).read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    body = {"path": str(path), "beginning": f"sha256:{hashlib.sha256(data[: 1 << 20]).hexdigest()}"}
    answer = await server.post("/puna/v1/blobs", body)
    assert answer.status_code == 200
    *copying, last = lines(answer)
    assert last == {"status": "success", "digest": digest}
    assert copying[-1] == {"status": "copying file", "total": len(data), "completed": len(data)}
    assert (await server.client.head(f"/api/blobs/{digest}")).status_code == 200
    answer = await server.post("/puna/v1/blobs", {**body, "stream": False})
    assert answer.json() == {"status": "success", "digest": digest}


async def test_a_file_that_cannot_be_named_has_one_answer(server: Server, models: pathlib.Path) -> None:
    """Whether it is there, is a folder, or begins otherwise: nobody learns it from here."""
    right = {"path": str(models / "bare.gguf"), "beginning": f"sha256:{hashlib.sha256(b'guessed').hexdigest()}"}
    for wrong in ({}, {"path": "/none"}, {"path": "/dev/zero"}, {"path": "bare.gguf"}, {"path": "/"}, {"path": "\0"}):
        answer = await server.post("/puna/v1/blobs", {**right, **wrong})
        error = "this file cannot be taken from its place; upload it"
        assert (answer.status_code, answer.json()) == (404, {"error": error})
    transport = httpx2.ASGITransport(server.app, client=("192.168.1.7", 5000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:11434") as stranger:
        assert (await stranger.post("/puna/v1/blobs", json=right)).status_code == 403
    page = await server.post("/puna/v1/blobs", right, headers={"origin": "http://localhost:3000"})
    assert page.status_code == 403


async def test_create_streams_its_progress(server: Server, models: pathlib.Path) -> None:
    """native-api 277, 278, model-store 43"""
    await install(server, models)
    answer = await server.post("/api/create", {"model": "poet", "from": "m", "system": "You are a poet."})
    assert answer.headers["content-type"] == "application/x-ndjson"
    said = [line["status"] for line in lines(answer)]
    assert said[0].startswith("using existing layer sha256:")
    assert said[-2:] == ["writing manifest", "success"]
    assert all(list(line) == ["status"] for line in lines(answer))


@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        ({}, JSON, "invalid model name"),  # native-api 273
        ({"model": "a b", "from": "x"}, JSON, "invalid model name"),
        ({"model": "m"}, "application/json", "neither 'from' or 'files' was specified"),  # native-api 274
        ({"model": "m", "files": {"../x": "sha256:1"}}, JSON, "file path must be relative"),  # native-api 275
        ({"model": "m", "files": {"x.gguf": ""}}, JSON, "invalid digest format"),  # native-api 276
        ({"model": "m", "from": "m", "draft_quantize": "q8_0"}, JSON, "--draft-quantize requires a DRAFT model"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_create_refusals(
    server: Server, body: dict[str, Any], content_type: str, error: str, stream: bool
) -> None:
    """model-store 42"""
    answer = await server.post("/api/create", {**body, "stream": stream})
    assert (answer.status_code, answer.json()) == (400, {"error": error})
    assert answer.headers["content-type"] == content_type


class Pulling:
    """A registry that brings the model by copying another, or fails after its first line."""

    def __init__(self, server: Server, failure: PunaError | None = None) -> None:
        self._store = server.services.store
        self._failure = failure
        self.asked: list[str] = []

    async def pull(self, name: ModelName) -> AsyncGenerator[Progress, None]:
        self.asked.append(name.short)
        yield Progress(status="pulling manifest")
        if self._failure is not None:
            raise self._failure
        self._store.copy(ModelName.parse("m"), name)
        yield Progress(status="success")


async def test_a_base_that_is_missing_is_pulled_first(server: Server, models: pathlib.Path) -> None:
    """model-store 87: its lines come before the others; whether the pull fails or the request is wrong, nothing is
    made."""
    await install(server, models)
    registry = Pulling(server)
    object.__setattr__(server.services, "registry", registry)
    answer = await server.post("/api/create", {"model": "new", "from": "far/base:1", "system": "x"})
    said = [line["status"] for line in lines(answer)]
    assert said[0] == "pulling manifest"
    assert said[1].startswith("using existing layer")
    assert said.count("success") == 1
    answer = await server.post("/api/create", {"model": "new", "from": "m", "stream": False})
    assert answer.json() == {"status": "success"}
    answer = await server.post("/api/create", {"model": "bad", "from": "gone", "template": "{{ .Bad"})
    assert answer.status_code == 400
    assert registry.asked == ["far/base:1"]
    failing = Pulling(server, NotFound("pull model manifest: file does not exist"))
    object.__setattr__(server.services, "registry", failing)
    answer = await server.post("/api/create", {"model": "bad", "from": "gone"})
    assert lines(answer) == [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]
    answer = await server.post("/api/create", {"model": "bad", "from": "gone", "stream": False})
    assert (answer.status_code, failing.asked) == (404, ["gone:latest", "gone:latest"])
    assert (await server.post("/api/show", {"model": "bad"})).status_code == 404


async def test_an_error_after_the_first_line_is_a_line(server: Server, models: pathlib.Path) -> None:
    """model-store 42: the status is sent by then."""
    await install(server, models)
    digest = await upload(server, await anyio.Path(models / "foreign.gguf").read_bytes())
    body = {"model": "a", "from": "m", "adapters": {"x.gguf": digest}}
    answer = await server.post("/api/create", body)
    assert answer.status_code == 200
    assert [next(iter(line)) for line in lines(answer)] == ["status", "error"]
    answer = await server.post("/api/create", {**body, "stream": False})
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


async def test_a_broken_template_is_told_before_the_first_line(server: Server, models: pathlib.Path) -> None:
    """native-api 279"""
    await install(server, models)
    answer = await server.post("/api/create", {"model": "bad", "from": "m", "template": "{{ .Bad"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
    assert answer.json() == {"error": "template error: template: :1: unclosed action"}


async def test_leaving_ends_the_work_at_its_next_report(server: Server, connect: Connect) -> None:
    reached, left = threading.Event(), threading.Event()
    failures: list[Exception] = []

    def create(_: object, report: Any, **__: object) -> None:
        report(Progress(status="first"))
        reached.set()
        left.wait(10)
        try:
            report(Progress(status="second"))
        except Exception as error:
            failures.append(error)
            raise

    server.services.store.create = create
    connection = connect(server, "/api/create", b'{"model":"m","files":{}}')
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await anyio.to_thread.run_sync(reached.wait, 10)
        connection.leave()
        await anyio.wait_all_tasks_blocked()
        left.set()
    assert [str(failure) for failure in failures] == ["request canceled"]


async def test_copy(server: Server, models: pathlib.Path) -> None:
    """native-api 264-268, model-store 29"""
    await install(server, models)
    for destination in ("b", "m", "me/c:v1"):
        answer = await server.post("/api/copy", {"source": "m", "destination": destination})
        assert (answer.status_code, answer.content) == (200, b"")
        assert "content-type" not in answer.headers
    entries = (await server.client.get("/api/tags")).json()["models"]
    assert {entry["name"] for entry in entries} == {"m:latest", "b:latest", "me/c:v1"}
    assert len({entry["digest"] for entry in entries}) == 1
    for body, status, error in (
        ({}, 400, 'source "" is invalid'),
        ({"source": "a b", "destination": "c"}, 400, 'source "a b" is invalid'),
        ({"source": "m", "destination": "a b"}, 400, 'destination "a b" is invalid'),
        ({"source": "nosuch:v2", "destination": "x"}, 404, 'model "nosuch:v2" not found'),
    ):
        answer = await server.post("/api/copy", body)
        assert (answer.status_code, answer.json()) == (status, {"error": error})


async def test_delete(server: Server, models: pathlib.Path) -> None:
    """native-api 269-272"""
    await install(server, models)
    for body, status, error in (
        ({}, 400, "model is required"),
        ({"model": "a b"}, 400, 'name "a b" is invalid'),
        ({"model": "nosuch"}, 404, "model 'nosuch' not found"),
        ({"model": "big:cloud"}, 404, "model 'big:cloud' not found"),
    ):
        answer = await server.client.request("DELETE", "/api/delete", json=body)
        assert (answer.status_code, answer.json()) == (status, {"error": error})
    size = sum(path.stat().st_size for path in server.services.store.blobs.folder.iterdir())
    await server.post("/api/copy", {"source": "m", "destination": "other"})
    answer = await server.client.request("DELETE", "/api/delete", json={"name": "other"})
    assert answer.headers["x-puna-freed-bytes"] == "0"
    answer = await server.client.request("DELETE", "/api/delete", json={"name": "M"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-puna-freed-bytes"] == str(size)
    assert (await server.client.get("/api/tags")).json() == {"models": []}  # native-api 233


async def test_tags(server: Server, models: pathlib.Path) -> None:
    """native-api 234-237"""
    await install(server, models)
    entry = (await server.client.get("/api/tags")).json()["models"][0]
    assert list(entry) == ["name", "model", "modified_at", "size", "digest", "details", "capabilities"]
    assert entry["name"] == entry["model"] == "m:latest"
    assert len(entry["digest"]) == 64
    assert entry["details"]["parent_model"] == ""
    assert entry["details"]["context_length"] == 8192
    assert not entry["modified_at"].endswith("+00:00")
    assert (await server.client.head("/api/tags")).content == b""  # native-api 5


async def test_show(server: Server, models: pathlib.Path) -> None:
    """native-api 64, 245-249, 254, model-store 105 and 108"""
    await install(server, models)
    (entry,) = (await server.client.get("/api/tags")).json()["models"]
    assert (await server.post("/api/show", {"model": "m"})).json()["capabilities"] == entry["capabilities"]
    shown = (await server.post("/api/show", {"name": "M:LATEST"})).json()
    assert {"modelfile", "template", "details", "model_info", "tensors", "capabilities", "modified_at"} <= set(shown)
    assert "license" not in shown
    assert shown["model_info"]["tokenizer.ggml.tokens"] is None
    verbose = (await server.post("/api/show", {"model": "m", "verbose": True})).json()
    assert len(verbose["model_info"]["tokenizer.ggml.tokens"]) > 100
    agent = {"user-agent": "GitHubCopilotChat/1"}
    shown = (await server.post("/api/show", {"model": "m"}, headers=agent)).json()
    assert shown["model_info"]["general.basename"] == "m"
    answer = await server.post("/api/show", {"model": "nosuch"})
    assert (answer.status_code, answer.json()) == (404, {"error": "model 'nosuch:latest' not found"})


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/pull", {}, 400, "invalid model name"),  # native-api 282
        ("/api/pull", {"model": "a b"}, 400, "invalid model name"),
        ("/api/pull", {"model": "m:cloud:local"}, 400, 'use either :local or :cloud, not both: "m:cloud:local"'),
        ("/api/push", {}, 400, "model is required"),  # native-api 288
        ("/api/push", {"model": "a b"}, 400, "invalid model name"),
        ("/api/push", {"model": "nosuch"}, 404, "model 'nosuch' not found"),
    ],
)
async def test_pull_and_push_as_far_as_names_go(
    server: Server, path: str, body: dict[str, Any], status: int, error: str
) -> None:
    answer = await server.post(path, body)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(error)
