"""Pushing to a registry of our own (numbers are those of the model store's checks)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import pytest

from server.errors import ModelNotFound, PunaError, RegistryError, StoreError
from server.messages.chat import Progress
from server.store import CreateRequest
from tests.registry.conftest import PART_BYTES, World
from tests.registry.hostile import Answer, Asked, HostileRegistry, digest_of, hostile_registry

pytestmark = pytest.mark.anyio


@dataclass
class Receiving:
    """The upload half of a registry: one session at a time. `redirects_to` sends parts elsewhere."""

    remote: HostileRegistry
    redirects_to: str = ""
    mounts: bool = False
    data: bytearray = field(default_factory=bytearray)
    queries: list[dict[str, str]] = field(default_factory=list)
    begun: int = 0
    fails: Callable[[Asked], Answer | None] = lambda _: None

    def __call__(self, asked: Asked) -> Answer | None:
        if answer := self.fails(asked):
            return answer
        path, _, query = asked.target.partition("?")
        if asked.method == "POST" and path.endswith("/blobs/uploads/"):
            self.queries.append(dict(parse_qsl(query)))
            if self.mounts and "mount" in self.queries[-1]:
                return Answer(201)
            self.data.clear()
            self.begun += 1
            return Answer(202, headers={"Location": f"/v2/upload/{self.begun}?state=0"})
        if path.startswith("/v2/upload/"):
            return self.upload(asked, path, dict(parse_qsl(query)))
        if asked.method == "PUT" and "/manifests/" in path:
            self.remote.manifests[path] = asked.body
            return Answer(201)
        return None

    def upload(self, asked: Asked, path: str, query: dict[str, str]) -> Answer:
        if asked.method == "GET":
            return Answer(204, headers={"Range": f"0-{max(0, len(self.data) - 1)}", "Location": asked.target})
        if asked.method == "PATCH" and self.redirects_to:
            first = asked.headers["content-range"].partition("-")[0]
            next_url = f"/v2/upload/{self.begun}?after={first}"
            where = f"{self.redirects_to}/part/{first}"
            return Answer(307, headers={"Location": where, "Docker-Upload-Location": next_url})
        if asked.method == "PATCH":
            first = int(asked.headers["content-range"].partition("-")[0])
            if first != len(self.data):
                return Answer(416, b"wrong place")
            self.data += asked.body
            return Answer(202, headers={"Location": f"{path}?state={len(self.data)}"})
        self.queries.append(query)
        if not self.redirects_to and query["digest"] != digest_of(bytes(self.data)):
            return Answer(400, b"wrong digest")
        self.remote.blobs[query["digest"]] = bytes(self.data)
        return Answer(201)


DATA = random.Random(3).randbytes(250_000)


@pytest.fixture
def receiving(remote: HostileRegistry) -> Receiving:
    remote.hook = receiving = Receiving(remote)
    return receiving


@pytest.fixture
def weights(world: World) -> str:
    """A model under the registry's name, whose weights are of three parts; their digest."""
    digest = world.remote.add(DATA)["digest"]
    world.remote.blobs.clear()
    world.store.blobs.write(DATA)
    data = world.remote.publish(
        {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": len(DATA)}
    )
    world.store.blobs.write(b"{}")
    world.store.manifests.write(world.name(), data)
    world.remote.blobs.clear()
    world.remote.manifests.clear()
    return digest


def statuses(lines: list[Progress]) -> list[str]:
    return list(dict.fromkeys(line.status for line in lines))


async def test_a_push_part_by_part(world: World, receiving: Receiving, weights: str) -> None:
    """model-store 74, 76, 77"""
    lines = await world.push()
    config = digest_of(b"{}")
    assert statuses(lines) == [
        "retrieving manifest", f"pushing {weights[7:19]}", f"pushing {config[7:19]}", "pushing manifest", "success",
    ]  # fmt: skip
    assert [line.completed for line in lines if line.digest == weights][-1] == len(DATA)
    assert world.remote.blobs == {weights: DATA, config: b"{}"}
    assert list(world.remote.manifests.values()) == [world.store.manifests.read(world.name())[0]]
    patches = [asked for asked in world.remote.asked if asked.method == "PATCH"][:3]
    assert [asked.headers["content-range"] for asked in patches] == ["0-99999", "100000-199999", "200000-249999"]
    assert [asked.target.partition("=")[2] for asked in patches] == ["0", "100000", "200000"]
    assert all(asked.headers["x-redirect-uploads"] == "1" for asked in patches)
    pieces = [hashlib.md5(DATA[at : at + PART_BYTES]).digest() for at in range(0, len(DATA), PART_BYTES)]
    assert receiving.queries[1] == {
        "state": "250000", "digest": weights, "etag": f"{hashlib.md5(b''.join(pieces)).hexdigest()}-3",
    }  # fmt: skip

    world.remote.asked.clear()
    again = await world.push()
    assert [line.completed for line in again if line.digest] == [len(DATA), 2]
    assert [asked.method for asked in world.remote.asked] == ["HEAD", "HEAD", "PUT"]


async def test_parts_that_are_redirected(world: World, receiving: Receiving, weights: str) -> None:
    """model-store 76: to another host go the bytes alone"""
    async with hostile_registry() as store:
        store.hook = lambda asked: Answer(200)
        receiving.redirects_to = store.url
        await world.push()
        parts = [asked for asked in store.asked if asked.path in ("/part/0", "/part/100000", "/part/200000")][:4]
        bodies = {asked.path: asked.body for asked in store.asked if len(asked.body) > 2}
        assert b"".join(bodies[path] for path in sorted(bodies, key=lambda path: int(path[6:]))) == DATA
        for asked in parts:
            assert asked.method == "PUT"
            assert not {"authorization", "content-range", "x-redirect-uploads"} & asked.headers.keys()


async def test_a_blob_is_taken_from_another_repository(world: World, receiving: Receiving, weights: str) -> None:
    """model-store 75"""
    receiving.mounts = True
    world.store.create(
        CreateRequest.read({"model": world.name("lib/second").full, "from": world.name().full, "system": "x"}),
        lambda _: None,
    )
    await world.push("lib/second")
    query = receiving.queries[0]
    assert query == {"mount": weights, "from": "lib/m"}
    assert weights not in world.remote.blobs  # nothing of it was sent


async def test_an_upload_that_breaks_off_goes_on_where_the_registry_is(
    world: World, receiving: Receiving, weights: str
) -> None:
    broken: list[int] = []

    def fails(asked: Asked) -> Answer | None:
        if asked.method == "PATCH" and asked.headers["content-range"].startswith("100000-") and not broken:
            broken.append(1)
            receiving.data += asked.body[:30_000]  # arrived, but nobody was told
            return Answer(502, b"gone")
        return None

    receiving.fails = fails
    await world.push()
    assert world.remote.blobs[weights] == DATA
    ranges = [asked.headers["content-range"] for asked in world.remote.asked if asked.method == "PATCH"]
    assert ranges[:4] == ["0-99999", "100000-199999", "130000-199999", "200000-249999"]


async def test_a_session_that_is_lost_begins_again(world: World, receiving: Receiving, weights: str) -> None:
    broken: list[int] = []

    def fails(asked: Asked) -> Answer | None:
        if asked.method == "PATCH" and asked.headers["content-range"].startswith("100000-") and not broken:
            broken.append(1)
            return Answer(503, b"restarting")
        if asked.method == "GET" and "/v2/upload/1" in asked.path:
            return Answer(404, b"unknown upload")
        return None

    receiving.fails = fails
    await world.push()
    assert world.remote.blobs[weights] == DATA
    assert receiving.begun == 3  # the lost one, its successor, and the config's


async def test_a_registry_that_never_takes_it(world: World, receiving: Receiving, weights: str) -> None:
    receiving.fails = lambda asked: Answer(500, b"no") if asked.method == "PATCH" else None
    with pytest.raises(RegistryError, match=r"max retries exceeded: http status 500: no"):
        await world.push()
    receiving.fails = lambda asked: Answer(403, b"denied") if asked.method == "POST" else None
    with pytest.raises(RegistryError, match="403: denied"):
        await world.push()
    receiving.fails = lambda asked: Answer(401, b"") if asked.method == "HEAD" else None
    with pytest.raises(RegistryError, match="unauthorized: access denied"):
        await world.push()


async def test_models_that_cannot_be_pushed(world: World, receiving: Receiving, weights: str) -> None:
    """model-store 78"""
    with pytest.raises(ModelNotFound, match=r"^model '127\.0\.0\.1:\d+/lib/none:latest' not found$"):
        await world.push("lib/none")
    path = world.store.blobs.path(weights)
    path.write_bytes(DATA[:-1])
    with pytest.raises(StoreError, match="is missing from the model folder or is damaged"):
        await world.push()
    path.unlink()
    with pytest.raises(PunaError) as caught:
        await world.push()
    assert str(world.folder) not in str(caught.value)
    assert not world.remote.asked
