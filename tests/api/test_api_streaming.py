"""A client that leaves (native-api 1.9; checks 96, 97), and pieces that are sent at once."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable

import anyio
import pytest

from server.messages.chat import Chunk, GenerationRequest
from tests.api.conftest import Connect, Message, Script, Server

pytestmark = pytest.mark.anyio

BODY = b'{"model":"m","prompt":"x"}'
WHOLE = b'{"model":"m","prompt":"x","stream":false}'


class Gate:
    """An answer that waits after its first chunks until it is cancelled, inside a cancel scope of its own."""

    def __init__(self, *chunks: Chunk) -> None:
        self.waiting = anyio.Event()
        self.was_cancelled = False
        self._chunks = chunks

    async def __call__(self, _: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        with anyio.CancelScope():
            for chunk in self._chunks:
                yield chunk
            self.waiting.set()
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                self.was_cancelled = True
                raise


def has_bodies(count: int) -> Callable[[list[Message]], bool]:
    return lambda sent: sum(message["type"] == "http.response.body" for message in sent) >= count


@pytest.mark.parametrize("body", [BODY, WHOLE])
async def test_leaving_before_the_first_piece_cancels_the_work(
    server: Server, connect: Connect, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """native-api 96: as while a model loads"""
    caplog.set_level("INFO", logger="server.api.access")
    gate = server.inference.script = Gate()
    connection = connect(server, "/api/generate", body)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await gate.waiting.wait()
        connection.leave()
    assert gate.was_cancelled
    assert server.inference.closed == 1
    assert connection.sent == []
    assert caplog.records[-1].getMessage().startswith("499 | ")


async def test_leaving_between_pieces_cancels_the_work(server: Server, connect: Connect) -> None:
    """native-api 97"""
    gate = server.inference.script = Gate(Chunk(text="a"), Chunk(text="b"))
    connection = connect(server, "/api/generate", BODY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await connection.wait_for(has_bodies(2))
        await gate.waiting.wait()
        connection.leave()
    assert gate.was_cancelled
    assert server.inference.closed == 1


async def test_leaving_while_a_piece_is_being_sent_closes_the_answer(server: Server, connect: Connect) -> None:
    async def endless(_: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        with anyio.CancelScope():
            while True:
                yield Chunk(text="a")

    script: Script = endless
    server.inference.script = script
    connection = connect(server, "/api/generate", BODY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await connection.wait_for(has_bodies(3))
        connection.leave()
    assert server.inference.closed == 1


async def test_every_piece_is_sent_at_once(server: Server, connect: Connect) -> None:
    """native-api 115"""
    gate = server.inference.script = Gate(Chunk(text="a"), Chunk(text="b"))
    connection = connect(server, "/api/generate", BODY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await gate.waiting.wait()
        await connection.wait_for(has_bodies(2))
        bodies = [message["body"] for message in connection.sent if message["type"] == "http.response.body"]
        assert [json.loads(body)["response"] for body in bodies] == ["a", "b"]
        assert all(body.endswith(b"\n") for body in bodies)
        connection.leave()


async def test_leaving_during_the_upload_of_a_body(
    server: Server, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="server.api.access")
    connection = connect(server, "/api/generate", b"")
    connection.cut(b'{"model"')
    await connection.run()
    assert connection.sent == []
    assert caplog.records[-1].getMessage().startswith("499 | ")


@pytest.mark.parametrize("body", [BODY, WHOLE])
async def test_a_complete_answer_is_no_client_leaving(
    server: Server, connect: Connect, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="server.api.access")
    connection = connect(server, "/api/generate", body)
    await connection.run()
    assert not connection.sent[-1].get("more_body", False)
    assert caplog.records[-1].getMessage().startswith("200 | ")
