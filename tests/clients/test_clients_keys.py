"""The clients' own libraries, unmodified, at a server that wants keys (compat-api 345)."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import ollama
import openai
import pytest

from server.client import Client
from tests.clients.answers import SKY, asks
from tests.golden.server import RunningServer
from tests.serve.installed import server_with_keys


@pytest.fixture(scope="module")
def server(models: pathlib.Path) -> Iterator[RunningServer]:
    with server_with_keys(models) as running:
        yield running


@pytest.fixture(scope="module")
def key(server: RunningServer) -> str:
    with Client(server.base) as client:
        return str(client.add_key("clients", "use")["key"])


Make = Callable[[str, str], Any]


def openai_client(base: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0)


def anthropic_by_key(base: str, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=base, api_key=key, max_retries=0)


def anthropic_by_token(base: str, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=base, auth_token=key, max_retries=0)


def test_openai(server: RunningServer, key: str) -> None:
    with openai_client(server.base, key) as client:
        answer = client.chat.completions.create(model="m", messages=asks("SKY"))
        assert answer.choices[0].message.content == SKY
        assert "m:latest" in [model.id for model in client.models.list()]
        assert client.responses.create(model="m", input="SKY").output_text == SKY
        with pytest.raises(openai.PermissionDeniedError, match='needs "manage"'):
            client.models.delete("m")
    with openai_client(server.base, "ollama") as client:
        for ask in (client.models.list, lambda: client.chat.completions.create(model="m", messages=asks("SKY"))):
            with pytest.raises(openai.AuthenticationError, match="Invalid API Key") as caught:
                ask()
            assert caught.value.type == "authentication_error"


@pytest.mark.parametrize("make", [anthropic_by_key, anthropic_by_token])
def test_anthropic(server: RunningServer, key: str, make: Make) -> None:
    with make(server.base, key) as client:
        answer = client.messages.create(model="m", max_tokens=100, messages=asks("SKY"))
        assert answer.content[0].text == SKY
        with client.messages.stream(model="m", max_tokens=100, messages=asks("SKY")) as stream:
            assert "".join(stream.text_stream) == SKY
        assert client.messages.count_tokens(model="m", messages=asks("SKY")).input_tokens
        assert "m:latest" in [model.id for model in client.models.list()]
    with make(server.base, "nonsense") as client:
        for ask in (
            client.models.list,
            lambda: client.messages.create(model="m", max_tokens=100, messages=asks("SKY")),
        ):
            with pytest.raises(anthropic.AuthenticationError, match="Invalid API Key") as caught:
                ask()
            assert caught.value.body["error"]["type"] == "authentication_error"


def test_ollama_with_headers(server: RunningServer, key: str) -> None:
    with ollama.Client(host=server.base, headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.chat("m", asks("SKY")).message.content == SKY
        assert "m:latest" in [model.model for model in client.list().models]
        with pytest.raises(ollama.ResponseError, match='needs "manage"') as caught:
            client.delete("m")
        assert caught.value.status_code == 403
    with ollama.Client(host=server.base) as client:
        for ask in (client.list, lambda: client.chat("m", asks("SKY")), lambda: list(client.pull("m", stream=True))):
            with pytest.raises(ollama.ResponseError, match="Invalid API Key") as caught:
                ask()
            assert caught.value.status_code == 401


def test_ollama_with_its_variable(server: RunningServer, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", key)
    with ollama.Client(host=server.base) as client:
        assert client.chat("m", asks("SKY")).message.content == SKY
    monkeypatch.setenv("OLLAMA_API_KEY", "nonsense")
    with ollama.Client(host=server.base) as client, pytest.raises(ollama.ResponseError, match="Invalid API Key"):
        client.list()
