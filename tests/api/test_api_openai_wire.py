"""Transport of the OpenAI and Anthropic routes (compat-api 1-43, 59): bodies, paths, ids, pings, clients that leave."""

from __future__ import annotations

import gzip
import json
import os
import sys
import zlib
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx2
import pytest

from server.api.wire_errors import ANTHROPIC, OPENAI
from server.api.wire_sse import EventStream
from server.errors import ContextExceeded, ModelNotFound, PunaError, ServerBusy
from server.messages.chat import Chunk, GenerationRequest
from tests.api.conftest import Connect, Message, Server
from tests.api.openai_scripts import HELLO, script
from tests.api.test_api_streaming import Gate

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.anyio

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "m", "prompt": "hi"},
    "/v1/responses": {"model": "m", "input": "hi"},
    "/v1/messages": {**CHAT, "max_tokens": 9},
}
ALL = pytest.mark.parametrize("path", BODIES)


async def send(server: Server, path: str, content: bytes, **headers: str) -> httpx2.Response:
    return await server.client.post(path, content=content, headers=headers)


# ---- bodies --------------------------------------------------------------------------------------------------------


@ALL
async def test_any_content_type_and_any_key(server: Server, path: str) -> None:
    """compat-api 1, 2, 6-9"""
    body = json.dumps({**BODIES[path], "colour": "blue"}).encode()
    for headers in ({"content-type": "text/plain"}, {"authorization": "Bearer x", "anthropic-version": "1999-01-01"}):
        assert (await send(server, f"{path}?beta=true", body, **headers)).status_code == 200


@ALL
@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", {}),
        (b"{", {}),
        (b"hello", {}),
        (b"[1]", {}),
        (b'{"model":"\x01"}', {}),
        (b"[" * 100_000, {}),
        (b"\x1f", {"content-encoding": "gzip"}),
        (gzip.compress(b"{}", mtime=0)[:-3], {"content-encoding": "gzip"}),
    ],
)
async def test_a_body_that_cannot_be_read(server: Server, path: str, content: bytes, headers: dict[str, str]) -> None:
    """compat-api 26, 38-40"""
    answer = await send(server, path, content, **headers)
    value = answer.json()
    assert (answer.status_code, value["error"]["type"]) == (400, "invalid_request_error")
    assert (value.get("type") == "error") is ("messages" in path)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (rb"cut \ud83e", "cut \ufffd"),
        (rb"\uDD99\ud83e\\", "\ufffd\ufffd\\"),
        (rb"\ud83e\ud83e\udd99", "\ufffd\U0001f999"),
        (rb"\\ud83e \\\ud83e \\\\ud83e", "\\ud83e \\\ufffd \\\\ud83e"),
        (b"\xff", "\ufffd"),
    ],
)
async def test_what_is_no_character_is_replaced(server: Server, sent: bytes, read: str) -> None:
    """A browser that cuts a text within an emoji sends half of it."""
    content = b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % sent
    assert (await send(server, "/v1/chat/completions", content)).status_code == 200
    assert server.inference.asked[-1].messages[0].content == read


@ALL
async def test_packed_bodies(server: Server, path: str) -> None:
    """compat-api 24, 25"""
    body = json.dumps(BODIES[path]).encode()
    packed = {
        "gzip": gzip.compress(body, mtime=0),
        "deflate": zlib.compress(body),
        "zstd": zstd.compress(body),
        "ZSTD": zstd.compress(body[:9]) + zstd.compress(body[9:]),  # a body may be several frames
    }
    for encoding, content in packed.items():
        assert (await send(server, path, content, **{"content-encoding": encoding})).status_code == 200
    assert (await send(server, path, body, **{"content-encoding": "br"})).status_code == 415


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x01", "not valid zstd"),
        (zstd.compress(b"{}" * 99)[:-3], "its end is missing"),
        (zstd.compress(b" " * (21 << 20)), "larger than 20 MiB"),
        # A window of 16 MiB takes more memory than a stranger may ask for.
        (zstd.compress(b"{}", options={zstd.CompressionParameter.window_log: 24}) + b"{", "not valid zstd"),
        (zstd.compress(os.urandom(17 << 20), options={zstd.CompressionParameter.window_log: 24}), "not valid zstd"),
    ],
    ids=["corrupt", "cut", "bomb", "tail", "window"],
)
async def test_zstd_bodies_that_are_refused(server: Server, content: bytes, words: str) -> None:
    """compat-api 26"""
    answer = await send(server, "/v1/chat/completions", content, **{"content-encoding": "zstd"})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


async def test_a_body_beyond_the_bound(server: Server) -> None:
    """compat-api 27"""
    bomb = gzip.compress(b" " * (101 << 20), compresslevel=1)
    for path, kind in (("/v1/chat/completions", "invalid_request_error"), ("/v1/messages", "request_too_large")):
        answer = await send(server, path, bomb, **{"content-encoding": "gzip"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (413, kind)


# ---- names and paths -----------------------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        (None, 400, "model is required"),
        ("", 400, "model is required"),
        ("m:local:cloud", 400, 'use either :local or :cloud, not both: "m:local:cloud"'),
        ("big:cloud", 404, "model 'big:cloud' not found"),
        ("a b", 400, "invalid model name"),
    ],
)
async def test_names(server: Server, path: str, model: str | None, status: int, words: str) -> None:
    """compat-api 31, 32, 41, 47"""
    answer = await server.post(path, {**BODIES[path], "model": model})
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, words)


@ALL
async def test_paths_that_were_joined_carelessly(server: Server, path: str) -> None:
    """compat-api 10"""
    for spelling in (path.replace("/v1/", "/v1//"), f"{path}/"):
        assert (await server.post(spelling, BODIES[path])).status_code == 200


async def test_a_careless_path_is_no_client_leaving(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="server.api.access")
    await server.post("/v1//chat/completions", {**CHAT, "stream": True})
    assert caplog.records[-1].getMessage().startswith("200 | ")


async def test_what_is_not_there(server: Server) -> None:
    """compat-api 21-23"""
    for method, path, status in (("GET", "/v1/nonsense", 404), ("GET", "/v1", 404), ("POST", "/v1/files", 404),
                                 ("GET", "/v1/chat/completions", 405)):  # fmt: skip
        answer = await server.client.request(method, path)
        assert (answer.status_code, "message" in answer.json()["error"]) == (status, True)
        answer = await server.client.request(method, path, headers={"anthropic-version": "2023-06-01"})
        assert answer.status_code == status
    answer = await server.client.get("/v1/nonsense", headers={"anthropic-version": "2023-06-01"})
    assert answer.json()["type"] == "error"


async def test_every_answer_has_an_id(server: Server) -> None:
    """compat-api 13, 14"""
    server.inference.script = script(*HELLO)
    ids = {(await server.post("/v1/chat/completions", CHAT)).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    for stream in (False, True):
        answer = await server.post("/v1/messages", {**BODIES["/v1/messages"], "stream": stream})
        assert answer.headers["request-id"].startswith("req_")
    answer = await server.post("/v1/messages", {})
    assert answer.headers["request-id"] == answer.json()["request_id"]


# ---- failures ------------------------------------------------------------------------------------------------------


def test_failures_in_both_shapes() -> None:
    """compat-api 42, 43, 55, 56, 67, 69"""
    cases: list[tuple[PunaError, int, str | None, str]] = [
        (ModelNotFound("gone"), 404, "model_not_found", "gone"),
        (ServerBusy(), 503, "server_overloaded", str(ServerBusy())),
        (ContextExceeded("request (9 tokens) exceeds the available context size (4 tokens), try"), 400,
         "context_length_exceeded", "prompt is too long: 9 tokens > 4 maximum"),
        (PunaError("boom"), 500, "internal_error", "boom"),
    ]  # fmt: skip
    for error, status, code, anthropic_words in cases:
        value = json.loads(bytes(OPENAI.answer(error, "req_1").body))
        assert (value["error"]["code"], value["error"]["message"]) == (code, str(error))
        answer = ANTHROPIC.answer(error, "req_1")
        value = json.loads(bytes(answer.body))
        assert (answer.status_code, value["request_id"]) == (status, "req_1")
        assert value["error"]["message"] == anthropic_words


@ALL
async def test_a_fault_of_ours_is_an_answer_too(server: Server, path: str, caplog: pytest.LogCaptureFixture) -> None:
    server.inference.script = script(error=ZeroDivisionError("ours"))
    answer = await server.post(path, BODIES[path])
    assert answer.status_code == 500
    assert "ours" not in answer.text
    assert answer.json()["error"]["message"]


# ---- clients that leave, and silence -------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_cancels_the_work(
    server: Server, connect: Connect, path: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """compat-api 36, 37"""
    caplog.set_level("INFO", logger="server.api.access")
    gate = server.inference.script = Gate(Chunk(text="a"))
    connection = connect(server, path, json.dumps({**BODIES[path], "stream": stream}).encode())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await gate.waiting.wait()
        connection.leave()
    assert gate.was_cancelled
    assert server.inference.closed == 1
    assert caplog.records[-1].getMessage().startswith("499 | ")


async def test_every_piece_is_sent_at_once(server: Server, connect: Connect) -> None:
    gate = server.inference.script = Gate(Chunk(text="a"), Chunk(text="b"))
    connection = connect(server, "/v1/chat/completions", json.dumps({**CHAT, "stream": True}).encode())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await gate.waiting.wait()
        bodies = [message["body"] for message in connection.sent if message["type"] == "http.response.body"]
        assert [body.endswith(b"\n\n") for body in bodies] == [True, True]
        connection.leave()


class Exchange:
    """One ASGI exchange with a stream of its own."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.changed = anyio.Event()

    async def receive(self) -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.changed.set()
        self.changed = anyio.Event()

    @property
    def text(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def test_a_silent_stream_is_kept_alive() -> None:
    """compat-api 34, 35"""
    exchange = Exchange()

    async def frames() -> AsyncGenerator[bytes, None]:
        yield b""
        yield b"first"
        while exchange.text.count(b":ping") < 2:
            await exchange.changed.wait()
        yield b"last"

    stream = EventStream(
        frames(),
        refusal=lambda error: OPENAI.answer(error, ""),
        late_error=lambda _: b"",
        ping=b":ping",
        quiet_seconds=0.001,
    )
    scope: dict[str, Any] = {"type": "http"}
    with anyio.fail_after(10):
        await stream(scope, exchange.receive, exchange.send)
    assert b"first:ping" in exchange.text
    assert exchange.text.count(b":ping") >= 2
    assert exchange.text.endswith(b"last")
    assert exchange.sent[-1]["more_body"] is False


@pytest.mark.parametrize("fails", [False, True])
async def test_a_long_prompt_does_not_keep_the_client_waiting(fails: bool) -> None:
    """The headers come after a while, and a failure after them is an event."""
    exchange = Exchange()

    async def frames() -> AsyncGenerator[bytes, None]:
        while exchange.text.count(b":ping") < 2:
            await exchange.changed.wait()
        if fails:
            raise PunaError("engine died")
        yield b"first"

    stream = EventStream(
        frames(),
        refusal=lambda error: OPENAI.answer(error, ""),
        late_error=lambda error: f"late: {error}".encode(),
        ping=b":ping",
        quiet_seconds=0.001,
    )
    with anyio.fail_after(10):
        await stream({"type": "http"}, exchange.receive, exchange.send)
    assert [message["status"] for message in exchange.sent if "status" in message] == [200]
    assert exchange.text.startswith(b":ping:ping")
    assert exchange.text.endswith(b"late: engine died" if fails else b"first")
    assert exchange.sent[-1]["more_body"] is False


async def test_two_streams_do_not_mix(server: Server) -> None:
    """compat-api 359"""

    async def echo(request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
            yield Chunk(text=request.messages[0].content)
        yield Chunk(done=True, reason="stop")

    server.inference.script = echo
    texts: dict[str, str] = {}

    async def ask(word: str) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": word}], "stream": True}
        texts[word] = (await server.post("/v1/chat/completions", body)).text

    async with anyio.create_task_group() as tasks:
        for word in ("ape", "bee"):
            tasks.start_soon(ask, word)
    assert (texts["ape"].count("ape"), texts["ape"].count("bee")) == (20, 0)
    assert (texts["bee"].count("bee"), texts["bee"].count("ape")) == (20, 0)
