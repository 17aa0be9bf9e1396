"""A server that is stopped in the middle of a pull."""

from __future__ import annotations

import pathlib
import signal

import pytest

from server.client import Client
from server.errors import PunaError
from tests.golden.server import running_server
from tests.registry.docker import docker_registry
from tests.registry.test_registry_docker import push_weights
from tests.serve.installed import server_with_models

SIZE = 8_000_000


def test_a_stop_ends_pulls_with_a_sentence_and_keeps_what_came(models: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """cli 39: the next server goes on from there"""
    shared = {"OLLAMA_MODELS": str(tmp_path / "models")}
    with docker_registry(tmp_path / "registry") as docker:
        with server_with_models(models) as publisher, Client(publisher.base) as client:
            name = push_weights(docker, client, publisher, SIZE)
        with running_server({**shared, "PUNA_DOWNLOAD_SPEED": "4000000"}) as server, Client(server.base) as client:
            reached = 0
            with pytest.raises(PunaError, match="stopping"):  # noqa: PT012
                for line in client.pull(name, insecure=True):
                    if line.get("total") == SIZE and (reached := int(line.get("completed", 0))) > SIZE // 4:
                        server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(20) == 0
        with running_server(shared) as server, Client(server.base) as client:
            assert client.downloads()["downloads"][0]["completed"] >= reached
            lines = [line for line in client.pull(name, insecure=True) if line.get("total") == SIZE]
            assert int(lines[0]["completed"]) >= reached
            assert lines[-1]["completed"] == SIZE
