"""The server is killed in the middle of a pull, again and again: nothing is lost but the last moments."""

from __future__ import annotations

import pathlib
import random

import pytest

from server.client import Client
from server.errors import PunaError
from server.store import Store
from tests.golden.server import RunningServer, running_server
from tests.registry.docker import docker_registry
from tests.registry.test_registry_docker import push_weights
from tests.serve.installed import server_with_models
from tests.store.test_store_crash import check_whole

SIZE = 260_000_000  # three parts
SPEED = "60000000"
KILLS = 4
LOST_BYTES = 150_000_000 // 2  # what comes between two looks at the disk, on a machine that is busy


def pull_until(server: RunningServer, name: str, bytes_wanted: int) -> tuple[int, int]:
    """Kill the server when so much has come; what there was at the beginning and at the end."""
    begin = end = -1
    with Client(server.base) as client, client.pull(name, insecure=True) as lines:
        try:
            for line in lines:
                if line.get("total") == SIZE:
                    end = int(line.get("completed", 0))
                    begin = end if begin < 0 else begin
                    if end >= bytes_wanted:
                        server.process.kill()
                        server.process.wait()
        except PunaError:
            pass
    return begin, end


@pytest.mark.timeout(180)
def test_killed_in_the_middle(models: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """model-store 57, 66: after each kill the pull goes on near where it was, and in the end every byte is right"""
    chance = random.Random(7)
    shared = {"OLLAMA_MODELS": str(tmp_path / "models"), "PUNA_DOWNLOAD_SPEED": SPEED}
    with docker_registry(tmp_path / "registry") as docker:
        with server_with_models(models) as publisher, Client(publisher.base) as client:
            name = push_weights(docker, client, publisher, SIZE)
        reached = 0
        for number in range(1, KILLS + 1):
            wanted = SIZE * number // (KILLS + 1) + chance.randrange(SIZE // 50)
            with running_server(shared) as server:
                begin, end = pull_until(server, name, wanted)
            assert end >= wanted
            assert begin >= reached - LOST_BYTES, "it began again from far behind"
            if number > 1:
                assert begin > 0
            reached = end
            assert Store(tmp_path / "models").list() == []
        with running_server({**shared, "PUNA_DOWNLOAD_SPEED": "0"}) as server, Client(server.base) as client:
            lines = list(client.pull(name, insecure=True))
            assert lines[-1] == {"status": "success"}
            assert next(int(line.get("completed", 0)) for line in lines if line.get("total") == SIZE) > reached // 2
            assert client.downloads()["downloads"] == []
    store = Store(tmp_path / "models")
    check_whole(store)
    assert [model.name.full for model in store.list()] == [name]
    for layer in store.list()[0].manifest.layers:
        assert store.blobs.add_file(store.blobs.path(layer.digest)) == layer.digest
    assert not [path for path in store.blobs.folder.iterdir() if "partial" in path.name]
