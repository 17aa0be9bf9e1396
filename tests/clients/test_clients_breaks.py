"""What libraries make of an answer that breaks, and the server of libraries that break off (compat-api 36, 37, 64)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import ollama
import openai
import psutil
import pytest

from server.client import Client
from tests.clients.answers import SKY, asks
from tests.golden.server import RunningServer

ENDLESS = 100_000  # tokens


@pytest.fixture
def native(server: RunningServer) -> Iterator[ollama.Client]:
    with contextlib.closing(ollama.Client(host=server.base)) as client:
        yield client


def kill_the_runner(server: RunningServer) -> None:
    with Client(server.base) as client:
        [pid] = [model["pid"] for model in client.status()["models"] if model["name"] == "m:latest"]
    psutil.Process(pid).kill()


def test_openai_raises_when_a_stream_fails(server: RunningServer) -> None:
    """compat-api 64"""
    with openai.OpenAI(base_url=f"{server.base}/v1", api_key="x", max_retries=0) as client:
        chunks = client.chat.completions.create(model="m", messages=asks("LOOP"), stream=True, max_tokens=ENDLESS)
        next(chunks)
        kill_the_runner(server)
        with pytest.raises(openai.APIError, match="process was killed"):
            for _ in chunks:
                pass


def test_anthropic_raises_when_a_stream_fails(server: RunningServer) -> None:
    """compat-api 64"""
    with anthropic.Anthropic(base_url=server.base, api_key="x", max_retries=0) as client:
        events = client.messages.create(model="m", messages=asks("LOOP"), stream=True, max_tokens=ENDLESS)
        next(events)
        kill_the_runner(server)
        with pytest.raises(anthropic.APIStatusError, match="process was killed"):
            for _ in events:
                pass


def test_ollama_raises_when_a_stream_fails(server: RunningServer, native: ollama.Client) -> None:
    chunks = native.chat("m", asks("LOOP"), stream=True, options={"num_predict": ENDLESS})
    next(chunks)
    kill_the_runner(server)
    with pytest.raises(ollama.ResponseError, match="process was killed"):
        for _ in chunks:
            pass


ENDLESS_BODIES: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": asks("LOOP"), "options": {"num_predict": ENDLESS}},
    "/api/generate": {"prompt": "LOOP", "options": {"num_predict": ENDLESS}},
    "/v1/chat/completions": {"messages": asks("LOOP"), "max_tokens": ENDLESS},
    "/v1/completions": {"prompt": "LOOP", "max_tokens": ENDLESS},
    "/v1/messages": {"messages": asks("LOOP"), "max_tokens": ENDLESS},
    "/v1/responses": {"input": "LOOP", "max_output_tokens": ENDLESS},
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ENDLESS_BODIES)
def test_who_breaks_off_leaves_room_for_the_next(
    server: RunningServer, native: ollama.Client, path: str, stream: bool
) -> None:
    """compat-api 36, 37: more clients break off than there are slots."""
    for _ in range(5):
        with (
            contextlib.suppress(httpx2.ReadTimeout),
            httpx2.Client(base_url=server.base, trust_env=False, timeout=30 if stream else 0.1) as http,
            http.stream("POST", path, json={"model": "m", "stream": stream, **ENDLESS_BODIES[path]}) as answer,
        ):
            assert answer.status_code == 200
            assert next(answer.iter_bytes())
    assert native.chat("m", asks("SKY")).message.content == SKY
    assert "socket.send()" not in server.log
