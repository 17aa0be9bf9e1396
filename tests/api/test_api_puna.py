"""Our own routes: the status, once and as events; and what ps makes of the same models (native-api 241-244)."""

from __future__ import annotations

import json

import anyio
import anyio.lowlevel
import pytest

from server.api.puna import SECONDS_BETWEEN_EVENTS
from server.messages.models import RunningModel
from tests.api.conftest import Connect, Server

pytestmark = pytest.mark.anyio

MODEL = RunningModel(name="m:latest", digest="d", path="/p", state="ready", size_bytes=100, gpu_bytes=40)


async def test_status(server: Server) -> None:
    server.scheduler.models = (MODEL,)
    status = (await server.client.get("/puna/v1/status")).json()
    assert list(status) == ["state", "address", "version", "models", "memory"]
    assert (status["state"], status["address"], status["version"]) == ("ready", "127.0.0.1:11434", "0.1.0")
    assert status["models"][0]["name"] == "m:latest"
    assert status["memory"]["models_bytes"] == 100
    assert status["memory"]["models_gpu_bytes"] == 40
    assert status["memory"]["total_bytes"] >= status["memory"]["free_bytes"] > 0


@pytest.mark.parametrize(
    ("models", "state"),
    [
        ((), "ready"),
        ((RunningModel(name="m", digest="", path="", state="loading"),), "loading"),
        ((RunningModel(name="m", digest="", path="", state="ready", active=1),), "working"),
    ],
)
async def test_states(server: Server, models: tuple[RunningModel, ...], state: str) -> None:
    server.scheduler.models = models
    assert (await server.client.get("/puna/v1/status")).json()["state"] == state
    server.services.closing.set()
    assert (await server.client.get("/puna/v1/status")).json()["state"] == "stopping"


async def test_events_tell_each_change_and_end_with_the_server(server: Server, connect: Connect) -> None:
    connection = connect(server, "/puna/v1/events", b"")
    connection.method = "GET"

    def events() -> list[dict[str, object]]:
        text = b"".join(message.get("body", b"") for message in connection.sent).decode()
        blocks = [block for block in text.split("\n\n") if block]
        assert all(block.startswith("event: status\ndata: ") for block in blocks)
        return [json.loads(block.partition("data: ")[2]) for block in blocks]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await connection.wait_for(lambda _: len(events()) == 1)
        server.scheduler.models = (MODEL,)
        await connection.wait_for(lambda _: len(events()) == 2)
        server.services.closing.set()
    assert [event["state"] for event in events()] == ["ready", "ready", "stopping"]
    assert dict(connection.sent[0]["headers"])[b"content-type"] == b"text/event-stream"
    assert connection.sent[-1]["more_body"] is False


async def test_while_nothing_changes_nobody_looks_and_many_changes_are_one_event(
    server: Server, connect: Connect
) -> None:
    connection = connect(server, "/puna/v1/events", b"")
    connection.method = "GET"

    def events() -> int:
        return b"".join(message.get("body", b"") for message in connection.sent).count(b"event: status")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connection.run)
        await connection.wait_for(lambda _: events() == 1)
        began = anyio.current_time()
        for size in range(50):
            server.scheduler.models = (RunningModel(name="m", digest="", path="", state="ready", size_bytes=size),)
            await anyio.lowlevel.checkpoint()
        await connection.wait_for(lambda _: events() == 2)
        assert anyio.current_time() - began >= SECONDS_BETWEEN_EVENTS
        with anyio.fail_after(10):
            await _nobody_looks(server)
        server.services.closing.set()
    assert events() == 3


async def _nobody_looks(server: Server) -> None:
    """Returns when the stream waits for a change, having looked once for each event."""
    while not server.scheduler.watchers:
        await anyio.lowlevel.checkpoint()
    assert server.scheduler.readings == 2


async def test_ps_sorts_by_what_stays_longest(server: Server) -> None:
    """native-api 241, 244"""
    assert (await server.client.get("/api/ps")).json() == {"models": []}

    async def running(models: tuple[RunningModel, ...]) -> list[dict[str, object]]:
        return [{"name": model.name, "expires_at": model.expires_at} for model in models]

    server.services.catalog.running = running
    server.scheduler.models = tuple(
        RunningModel(name=name, digest="", path="", state="ready", expires_at=expires)
        for name, expires in (("soon", 1_800_000_000.5), ("never", None), ("later", 1_900_000_000.0))
    )
    entries = (await server.client.get("/api/ps")).json()["models"]
    assert [entry["name"] for entry in entries] == ["never", "later", "soon"]
    assert entries[0]["expires_at"].startswith("23")  # native-api 83
    assert "2027-01-15T" in entries[2]["expires_at"]
    assert ".5" in entries[2]["expires_at"]
