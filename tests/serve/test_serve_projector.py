"""A model with a projector, through the whole of Puna: foretold, loaded, listed and loaded anew."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from server.client import Client, file_digest
from server.errors import PunaError
from tests.golden.server import RunningServer
from tests.serve.installed import server_with_models


@pytest.fixture(scope="module")
def seeing(models: pathlib.Path) -> Iterator[RunningServer]:
    """It has the same weights as `blind`, as `seeing` and `twin` with a projector, and as `squinting` with another;
    `plain` and `fresh` are such models that only one test loads."""
    with server_with_models(models, ("blind", "vision.gguf")) as running, Client(running.base) as client:
        weights, projector = (file_digest(models / file) for file in ("vision.gguf", "vision-mmproj.gguf"))
        client.upload_blob(models / "vision-mmproj.gguf", projector)
        other = running.home / "other.gguf"
        other.write_bytes((models / "vision-mmproj.gguf").read_bytes() + bytes(32))  # a sound file all the same
        another = file_digest(other)
        client.upload_blob(other, another)
        eyes = {"seeing": projector, "twin": projector, "fresh": projector, "squinting": another, "plain": ""}
        for name, eye in eyes.items():
            files = {"vision.gguf": weights, **({"mmproj.gguf": eye} if eye else {})}
            with client.create({"model": name, "files": files, "system": f"You are {name}."}) as progress:
                assert list(progress)[-1] == {"status": "success"}
        yield running


@pytest.fixture
def client(seeing: RunningServer) -> Iterator[Client]:
    with Client(seeing.base) as client:
        yield client


def pid(client: Client) -> int:
    (model,) = client.status()["models"]
    found: int = model["pid"]
    return found


def kinds(fit: dict[str, Any], *, later: bool = False) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in fit["pools"][0]["parts"]:
        if part["is_later"] is later:
            found[part["kind"]] = found.get(part["kind"], 0) + part["bytes"]
    return found


def test_the_projector_is_foretold_and_then_measured(client: Client, models: pathlib.Path) -> None:
    projector_bytes = (models / "vision-mmproj.gguf").stat().st_size
    before, plain = client.fit("fresh", num_ctx=2048), client.fit("plain", num_ctx=2048)
    assert (before["projector"], plain["projector"]) == ("cpu", "")
    assert before["basis"] == "about"
    assert kinds(before)["weights"] - kinds(plain)["weights"] == pytest.approx(projector_bytes, rel=0.05)
    client.load("fresh", options={"num_ctx": 2048})
    (model,) = client.status()["models"]
    reported: dict[str, int] = {}
    for buffer in model["buffers"]:
        reported[buffer["kind"]] = reported.get(buffer["kind"], 0) + buffer["bytes"]
    for kind in ("weights", "kv", "output"):
        assert kinds(before)[kind] == pytest.approx(reported[kind], rel=0.05, abs=16384)
    (listed,) = client.ps()
    assert (listed["size"], listed["size_vram"]) == (sum(reported.values()), 0)
    after = client.fit("fresh", num_ctx=2048)
    assert after["basis"] == "measured"
    assert {kind: kinds(after)[kind] for kind in reported} == reported
    client.load("plain", options={"num_ctx": 2048})
    (listed,) = client.ps()
    assert listed["size"] <= sum(reported.values()) - projector_bytes


@pytest.mark.parametrize("asked", [1, -5])
def test_the_smallest_context(asked: int, client: Client) -> None:
    """runtime 69, native-api 109."""
    client.load("seeing", options={"num_ctx": asked})
    assert [model["context_length"] for model in client.ps()] == [2048]
    client.load("blind", options={"num_ctx": asked})
    assert [model["context_length"] for model in client.ps()] == [4]


def test_another_projector_loads_the_model_anew(client: Client) -> None:
    """runtime 5.4, native-api 5.3."""
    options = {"num_ctx": 2048}
    client.load("seeing", options=options)
    first = pid(client)
    client.load("twin", options=options)
    assert pid(client) == first
    for name in ("squinting", "blind", "seeing"):
        before = pid(client)
        client.load(name, options=options)
        assert pid(client) != before


def test_a_damaged_projector_is_no_reason_to_fall(client: Client, seeing: RunningServer) -> None:
    client.unload("seeing")
    blobs = seeing.home / "models" / "blobs"
    client.copy("squinting", "broken")
    path = next(blob for blob in blobs.iterdir() if blob.stat().st_size == 98432 + 32)
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:5000])
        with pytest.raises(
            PunaError, match="broken:latest cannot be run: a file of it is missing or damaged"
        ) as caught:
            client.load("broken")
        assert caught.value.status == 400
    finally:
        path.write_bytes(whole)
    client.load("broken")
