"""Pulling from a registry that behaves, and what is asked of it (numbers are those of the model store's checks)."""

from __future__ import annotations

import json
import pathlib
import random
from contextlib import aclosing

import anyio
import pytest

from server.errors import DiskFull, InvalidGguf, PunaError, RegistryError
from server.messages.names import ModelName
from server.registry.parts import layout
from server.registry.preview import Preview
from server.registry.pull import Foretold
from server.store import Store
from server.store.blobs import Blobs
from server.store.gguf import read_header_prefix
from server.store.manifest import PROJECTOR
from tests.registry.conftest import World, make_world, until
from tests.registry.hostile import Answer, Asked, HostileRegistry, digest_of
from tests.store.projector_builder import projector_file

pytestmark = pytest.mark.anyio

DATA = random.Random(1).randbytes(1_000_000)
SMALL = b"template {{ .Prompt }}"
TEMPLATE = {"mediaType": "application/vnd.ollama.image.template"}


def statuses(lines: list) -> list[str]:
    """Without repetitions of one after the other."""
    texts = [line.status for line in lines]
    return [text for at, text in enumerate(texts) if at == 0 or texts[at - 1] != text]


async def test_a_pull_from_beginning_to_end(world: World) -> None:
    """model-store 19, 45, 51, 53, 54, native-api 286, 287, cli 37, 38"""
    weights, template = world.remote.add(DATA), {**world.remote.add(SMALL), **TEMPLATE}
    data = world.remote.publish(weights, template)
    lines = await world.pull()
    config = digest_of(b"{}")[7:19]
    assert statuses(lines) == [
        "pulling manifest",
        f"pulling {weights['digest'][7:19]}",
        f"pulling {template['digest'][7:19]}",
        f"pulling {config}",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    for layer in (weights, template):
        last = [line for line in lines if line.digest == layer["digest"]][-1]
        assert last.total == last.completed == layer["size"]
    assert world.blob(weights["digest"]) == DATA
    assert world.store.manifests.read(world.name())[0] == data
    assert [model.name for model in world.store.list()] == [world.name()]
    assert not [name for name in world.files if "partial" in name]
    first = world.remote.asked[0]
    assert first.headers["user-agent"].startswith("ollama/")
    assert first.headers["accept"] == "application/vnd.docker.distribution.manifest.v2+json"

    world.remote.asked.clear()
    again = await world.pull()
    assert [line.completed for line in again if line.digest] == [len(DATA), len(SMALL), 2]
    assert not world.remote.blob_requests()


async def test_parts_cover_the_file_once(world: World) -> None:
    """model-store 55, 57: what is asked for is each byte, once"""
    layer = world.remote.add(DATA)
    world.remote.publish(layer)
    await world.pull()
    spans = sorted(asked.span for asked in world.remote.blob_requests(layer["digest"]) if asked.span)
    assert spans == [(part.offset, part.end) for part in layout(len(DATA))]
    assert len(spans) == 10


async def test_what_an_earlier_run_has_is_not_asked_for_again(tmp_path: pathlib.Path, remote: HostileRegistry) -> None:
    """model-store 39, 57, 58, 66: the last client leaves in the middle; after a restart only the rest comes"""
    layer = remote.add(DATA)
    remote.publish(layer)
    remote.hook = lambda asked: stalling(remote, asked, 40_000) if "/blobs/sha256" in asked.path else None
    async with make_world(tmp_path, remote) as world:
        async with aclosing(world.registry.pull(world.name(), insecure=True)) as lines:
            async for line in lines:
                if line.completed >= 4 * 40_000:
                    break
        await until(lambda: [kept.state for kept in world.registry.downloads.list()] == ["kept"])
        kept = world.registry.downloads.list()[0]
    assert kept.completed >= 160_000
    assert (kept.digest, kept.total, kept.model) == (layer["digest"], len(DATA), world.name().short)
    states = [path for path in (tmp_path / "models" / "blobs").iterdir() if "-partial-" in path.name]
    assert len(states) == 10  # as Ollama needs them: of every part
    for path in states:
        state = json.loads(path.read_text())
        assert list(state) == ["N", "Offset", "Size", "Completed"]  # model-store 56
        assert path.read_text().endswith("}\n")
    remote.hook = lambda _: None
    remote.asked.clear()
    async with make_world(tmp_path, remote) as world:
        lines = await world.pull()
        assert world.blob(layer["digest"]) == DATA
    asked = sum(end - begin for begin, end in (a.span for a in remote.blob_requests(layer["digest"])))
    assert asked == len(DATA) - kept.completed
    assert next(line.completed for line in lines if line.digest) >= kept.completed


def stalling(remote: HostileRegistry, asked: Asked, after: int) -> Answer:
    answer = remote.ranged(asked, remote.blobs[asked.path.rpartition("/")[2]])
    answer.stalls_after = after
    return answer


async def test_clients_share_one_download(world: World) -> None:
    """model-store 66: a second asker joins, one that leaves does not stop it, and all see the same progress"""
    layer = world.remote.add(DATA)
    world.remote.publish(layer)
    world.remote.gate = anyio.Event()
    seen: dict[str, list[int]] = {"stays": [], "leaves": []}

    async def stays() -> None:
        seen["stays"] += [line.completed for line in await world.pull() if line.digest == layer["digest"]]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stays)
        async with aclosing(world.registry.pull(world.name(), insecure=True)) as lines:
            async for line in lines:
                if line.digest:
                    seen["leaves"].append(line.completed)
                    break
        world.remote.gate.set()
    assert seen["stays"][-1] == len(DATA)
    assert seen["leaves"]
    spans = [asked.span for asked in world.remote.blob_requests(layer["digest"])]
    assert len(spans) == len(set(spans)) == 10
    assert world.blob(layer["digest"]) == DATA


async def test_a_failure_reaches_everybody(world: World) -> None:
    """model-store 67"""
    layer = world.remote.add(DATA)
    world.remote.publish(layer)
    world.remote.hook = lambda asked: Answer(403, b"no") if "/blobs/" in asked.path else None
    errors: list[str] = []

    async def fails() -> None:
        with pytest.raises(RegistryError) as caught:
            await world.pull()
        errors.append(str(caught.value))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(fails)
    assert errors == ["403: no"] * 3


async def test_limits_change_while_a_pull_runs(world: World) -> None:
    """The speed is held, and lifted at once; fewer parts give their connections back."""
    layer = world.remote.add(DATA)
    world.remote.publish(layer)
    world.limits.change(parts=8, bytes_per_second=200_000)
    begin = anyio.current_time()
    async with aclosing(world.registry.pull(world.name(), insecure=True)) as lines:
        async for line in lines:
            if line.completed > 100_000 and world.limits.bytes_per_second:
                assert line.completed <= 200_000 * (anyio.current_time() - begin) + 8 * 32_768 + 100_000
                world.limits.change(parts=1, bytes_per_second=0)
    assert world.blob(layer["digest"]) == DATA
    assert anyio.current_time() - begin < 4.5  # unlimited for most of it: five seconds otherwise
    for wrong in ({"parts": 0}, {"parts": 1000}, {"bytes_per_second": -1}):
        with pytest.raises(PunaError, match="must be a whole number"):
            world.limits.change(**wrong)
    assert (world.limits.parts, world.limits.bytes_per_second) == (1, 0)


async def test_space_is_looked_at_first(world: World) -> None:
    """model-store 69: what is missing counts, what is there does not"""
    layer = world.remote.add(DATA)
    world.remote.publish(layer)
    world.store.blobs._free_bytes = lambda _: 64 * 1024 * 1024 + 500_000
    with pytest.raises(DiskFull, match=r"not enough space for .*/lib/m:latest: .* 0\.1 GB are needed"):
        await world.pull()
    assert world.files == []
    assert not world.remote.blob_requests()


async def test_a_disk_that_fills_up_ends_it_and_keeps_what_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """model-store 69"""
    layer = world.remote.add(DATA)
    world.remote.publish(layer)
    monkeypatch.setattr("server.registry.download.WRITE_BYTES", 30_000)
    monkeypatch.setattr("server.registry.download.CHECK_SPACE_BYTES", 300_000)
    free = iter([10**12])
    world.store.blobs._free_bytes = lambda _: next(free, 0)
    with pytest.raises(DiskFull):
        await world.pull()
    assert 0 < world.registry.downloads.list()[0].completed < len(DATA)
    world.store.blobs._free_bytes = lambda _: 10**12
    await world.pull()
    assert world.blob(layer["digest"]) == DATA


async def test_replaced_layers_go(world: World) -> None:
    """model-store 33, 68, native-api 12.5: only what nobody else needs, and nothing with noprune"""
    old, shared = world.remote.add(b"old" * 100), world.remote.add(b"shared" * 100)
    world.remote.publish(old, shared)
    await world.pull()
    world.store.copy(world.name(), ModelName.parse("copy"))
    other = world.remote.add(b"other" * 100)
    world.remote.publish(other)
    assert "removing unused layers" not in statuses(await world.pull())
    world.store.delete(ModelName.parse("copy"))
    world.remote.publish(old, shared)
    lines = await world.pull()
    assert statuses(lines)[-3:] == ["writing manifest", "removing unused layers", "success"]
    assert not world.store.blobs.has(other["digest"])
    world.store.noprune = True
    world.remote.publish(other)
    assert "removing unused layers" not in statuses(await world.pull())
    assert world.store.blobs.has(old["digest"])


async def test_a_blob_of_the_wrong_size_is_fetched_again(world: World) -> None:
    layer = world.remote.add(DATA)
    world.remote.publish(layer)
    world.store.blobs.path(layer["digest"]).write_bytes(DATA[:-1])
    await world.pull()
    assert world.blob(layer["digest"]) == DATA


async def test_an_empty_blob_and_one_named_twice(world: World) -> None:
    empty, layer = world.remote.add(b""), world.remote.add(DATA)
    world.remote.publish(layer, empty, layer)
    lines = await world.pull()
    assert world.blob(empty["digest"]) == b""
    assert lines[-1].status == "success"


async def test_half_finished_downloads_are_listed_cleared_and_never_pruned(world: World) -> None:
    """model-store 31: ours keeps them however old they are, until they are cleared"""
    layer = world.remote.add(DATA)
    world.remote.publish(layer)
    world.remote.hook = lambda asked: stalling(world.remote, asked, 40_000) if "/blobs/sha256" in asked.path else None

    async def cancel_when_begun() -> None:
        await until(lambda: any(kept.completed for kept in world.registry.downloads.list()))
        with pytest.raises(PunaError, match="cancel that first"):
            world.registry.downloads.clear(layer["digest"])
        world.registry.downloads.cancel(layer["digest"])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_when_begun)
        with pytest.raises(RegistryError, match="what has come is kept"):
            await world.pull()
    assert [kept.state for kept in world.registry.downloads.list()] == ["kept"]
    far_ahead = 10**10
    Store(world.store.root).prepare(now=far_ahead)
    assert [kept.completed > 0 for kept in world.registry.downloads.list()] == [True]
    with pytest.raises(PunaError, match="nothing of this file"):
        world.registry.downloads.clear(digest_of(b"nobody"))
    assert world.registry.downloads.clear_all() > 0
    assert world.registry.downloads.list() == []
    assert world.files == []


async def test_two_processes_do_not_write_one_file(tmp_path: pathlib.Path, remote: HostileRegistry) -> None:
    """model-store 25: the second is told, and nothing is harmed"""
    layer = remote.add(DATA)
    remote.publish(layer)
    remote.gate = anyio.Event()
    async with make_world(tmp_path, remote) as first, make_world(tmp_path, remote) as second:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.pull)
            await until(lambda: any("-partial" in name for name in first.files))
            with pytest.raises(PunaError, match="download already in progress"):
                await second.pull()
            remote.gate.set()
        await second.pull()
        assert first.blob(layer["digest"]) == DATA


async def test_a_preview_reads_the_header_alone(world: World, models: pathlib.Path) -> None:
    data = (models / "scripted.gguf").read_bytes()
    layer = world.remote.add(data)
    world.remote.publish(layer)
    preview = await world.registry.preview(world.name(), insecure=True)
    header = read_header_prefix(preview.prefix, preview.weights_bytes)
    assert header is not None
    assert (header.architecture, header.file_size) == ("llama", len(data))
    assert preview.total_bytes == len(data) + 2
    assert (preview.projector_prefix, preview.projector_bytes) == (b"", 0)
    assert sum(end - begin for begin, end in (a.span for a in world.remote.blob_requests())) <= 1024 * 1024
    assert world.files == []


async def test_what_is_foretold(world: World, models: pathlib.Path) -> None:
    """One line, from the manifest that the pull needs anyway; and none where the weights are here already."""
    data = (models / "scripted.gguf").read_bytes()
    world.remote.publish(world.remote.add(data))
    told: list[Preview] = []

    async def foretell(found: Preview) -> str:
        told.append(found)
        return "It fits."

    lines = [line async for line in world.registry.pull(world.name(), insecure=True, foretell=foretell)]
    (line,) = (line for line in lines if isinstance(line, Foretold))
    assert line == Foretold(status="pulling manifest", download_bytes=len(data) + 2, fit="It fits.")
    assert lines.index(line) == 1
    assert [found.weights_bytes for found in told] == [len(data)]
    assert len([asked for asked in world.remote.asked if "/manifests/" in asked.target]) == 1
    again = [line async for line in world.registry.pull(world.name(), insecure=True, foretell=foretell)]
    assert again[-1].status == "success"
    assert len(told) == 1


async def test_what_cannot_be_foretold_is_no_obstacle(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.remote.publish(world.remote.add(DATA))

    async def foretell(_: Preview) -> str:
        raise InvalidGguf("this file is no GGUF file")

    caplog.set_level("INFO")
    lines = [line async for line in world.registry.pull(world.name(), insecure=True, foretell=foretell)]
    assert lines[-1].status == "success"
    assert not [line for line in lines if isinstance(line, Foretold)]
    assert "whether the model will fit is not known: this file is no GGUF file" in caplog.text


async def test_a_preview_reads_the_first_projector_too(world: World, models: pathlib.Path) -> None:
    data, seeing = (models / "scripted.gguf").read_bytes(), projector_file().encoded()
    other = projector_file(image_size=56).encoded()
    projectors = [{**world.remote.add(each), "mediaType": PROJECTOR} for each in (seeing, other)]
    world.remote.publish(*projectors, world.remote.add(data))
    preview = await world.registry.preview(world.name(), insecure=True)
    assert (preview.projector_prefix, preview.projector_bytes) == (seeing, len(seeing))
    assert preview.weights_bytes == len(data)
    assert preview.total_bytes == len(data) + len(seeing) + len(other) + 2


def test_blobs_tell_their_space(tmp_path: pathlib.Path) -> None:
    assert Blobs(tmp_path, free_bytes=lambda _: 7).free_bytes == 7
