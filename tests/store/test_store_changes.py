"""Listing, resolving, copying, deleting, and tidying up at a start."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import InvalidGguf, InvalidModelName, ModelNotFound, StoreError
from server.messages.names import ModelName
from server.store import Store

HOUR = 3600.0
Create = Callable[..., list[str]]


def names(store: Store) -> list[str]:
    return sorted(model.name.short for model in store.list())


def files(store: Store) -> set[str]:
    return {path.name for path in store.blobs.folder.iterdir()}


def manifest_path(store: Store, name: str) -> Path:
    return store.manifests.path(ModelName.parse(name))


# ---- listing -------------------------------------------------------------------------------------------------------


def test_empty_folder_lists_nothing(tmp_path: Path) -> None:
    """native-api 233; nothing is made before it is needed."""
    store = Store(tmp_path / "none")
    assert store.list() == []
    assert not store.root.exists()
    with pytest.raises(ModelNotFound):
        store.get(store.resolve("x"))


def test_list_entry(store: Store, scripted: str) -> None:
    """model-store 9, 17 and 18, native-api 234 to 237."""
    (model,) = store.list()
    data = manifest_path(store, "m").read_bytes()
    assert model.digest == hashlib.sha256(data).hexdigest()
    assert model.size == model.manifest.layers[0].size + model.manifest.config.size
    assert model.modified_at.timestamp() == pytest.approx(manifest_path(store, "m").stat().st_mtime)
    assert model.modified_at.tzinfo is not None
    assert model.details(with_lengths=True) == {
        "parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "1.16M",
        "quantization_level": "F16", "context_length": 8192, "embedding_length": 512,
    }  # fmt: skip
    spec = model.spec()
    assert spec.path == str(store.blobs.path(scripted))
    assert spec.can_complete
    assert spec.shape.vocab_size == 512


def test_order_of_the_list(store: Store, create: Create, scripted: str) -> None:
    """native-api 238: newest first by whole seconds, then by name."""
    for name, moment in (("b", 500.9), ("a", 500.1), ("c", 501.0), ("m", 400.0)):
        if name != "m":
            store.copy(ModelName.parse("m"), ModelName.parse(name))
        os.utime(manifest_path(store, name), (moment, moment))
    assert [model.name.short for model in store.list()] == ["c:latest", "a:latest", "b:latest", "m:latest"]
    assert repr(store) == f"<store in {store.root}, 4 models known>"


def test_what_cannot_be_read_hides_nothing(store: Store, scripted: str, caplog: pytest.LogCaptureFixture) -> None:
    """model-store 21 and 22, native-api 240."""
    folder = manifest_path(store, "m").parent
    (folder / "broken").write_text("{")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "folder").mkdir()
    (folder / "bad name").write_text("{}")
    (store.manifests.folder / "stray").write_text("x")
    assert names(store) == ["m:latest"]
    with pytest.raises(StoreError, match="damaged"):
        store.get(store.resolve("m:broken"))


def test_names_of_all_kinds_of_hosts(tmp_path: Path, store: Store, scripted: str) -> None:
    """model-store 3 and 23."""
    odd = Store(tmp_path / "odd [folder]*?")
    shutil.copytree(store.root, odd.root)
    odd.copy(ModelName.parse("m"), ModelName.parse("localhost:5000/u/m"))
    odd.copy(ModelName.parse("m"), ModelName.parse("HF.co/User/Model:q4_K_M"))
    assert names(odd) == ["HF.co/User/Model:q4_K_M", "localhost:5000/u/m:latest", "m:latest"]
    assert (odd.manifests.folder / "HF.co/User/Model/q4_K_M").is_file()


def test_changes_of_others_are_noticed(store: Store, scripted: str) -> None:
    """native-api 239; what is cached never outlives its files."""
    first = store.list()[0]
    assert store.list()[0] is first
    shutil.copytree(manifest_path(store, "m").parent, manifest_path(store, "n").parent)
    assert names(store) == ["m:latest", "n:latest"]
    config = first.manifest.config.digest
    store.blobs.path(config).rename(store.root / "aside")
    assert names(store) == []
    with pytest.raises(ModelNotFound):
        store.get(store.resolve("m"))
    (store.root / "aside").rename(store.blobs.path(config))
    shutil.rmtree(manifest_path(store, "m").parent)
    assert names(store) == ["n:latest"]


def test_missing_weights_are_still_listed(store: Store, scripted: str) -> None:
    store.blobs.delete(scripted)
    (model,) = store.list()
    assert model.gguf is None
    assert model.details(with_lengths=True)["parameter_size"] == "1.16M"
    with pytest.raises(InvalidGguf, match="missing or damaged"):
        model.spec()


def test_a_damaged_adapter_keeps_its_model_from_native_code(store: Store, scripted: str, tmp_path: Path) -> None:
    (model,) = store.list()
    damaged = tmp_path / "adapter.gguf"
    damaged.write_bytes(b"GGUF and nothing else")
    with pytest.raises(InvalidGguf, match="missing or damaged"):
        dataclasses.replace(model, adapter_paths=(damaged,)).spec()


def test_many_models_of_one_file_read_one_header(store: Store, scripted: str) -> None:
    data = manifest_path(store, "m").read_bytes()
    for number in range(500):
        path = manifest_path(store, f"m{number}")
        path.parent.mkdir()
        path.write_bytes(data)
    before = store.headers.reads
    assert all(model.details(with_lengths=True)["context_length"] == 8192 for model in store.list())
    assert store.headers.reads <= before + 1
    started = time.process_time()
    assert len(store.list()) == 501
    assert time.process_time() - started < 0.5


# ---- names ---------------------------------------------------------------------------------------------------------


def test_resolving(store: Store, scripted: str) -> None:
    """model-store 6 and 7."""

    def resolved(text: str) -> str:
        return store.resolve(text).short

    store.copy(ModelName.parse("m"), ModelName.parse("Foo"))
    store.copy(ModelName.parse("m"), ModelName.parse("Bar:Q4"))
    assert resolved("foo") == "Foo:latest"
    assert resolved("REGISTRY.ollama.AI/Library/FOO:LATEST") == "Foo:latest"
    assert resolved(" foo ") == "Foo:latest"
    assert resolved("bar:q5") == "Bar:q5"  # a new tag of a stored model
    assert resolved("foo:q4") == "Foo:q4"  # and never another model's tag
    assert resolved("new") == "new:latest"
    data = manifest_path(store, "m").read_bytes()
    store.manifests.write(ModelName.parse("foo"), data)
    assert (resolved("foo"), resolved("Foo")) == ("foo:latest", "Foo:latest")
    assert resolved("FOO") == "FOO:latest"
    for bad in ("a b", "../x", "m\n\n..", "m@sha256:aa", "", f"sha256:{'0' * 64}\n/x"):
        with pytest.raises(InvalidModelName):
            store.resolve(bad)


def test_names_that_are_no_names_reach_no_file(store: Store) -> None:
    with pytest.raises(ModelNotFound):
        store.get(ModelName("..", "..", "..", "etc"))


# ---- copy and delete -----------------------------------------------------------------------------------------------


def test_copy(store: Store, scripted: str) -> None:
    """model-store 27 and 28, native-api 264 and 268."""
    before = manifest_path(store, "m").stat().st_mtime_ns
    store.copy(ModelName.parse("m"), ModelName.parse("M"))
    assert manifest_path(store, "m").stat().st_mtime_ns == before
    store.copy(ModelName.parse("M"), ModelName.parse("me/c:v1"))
    copied = store.get(ModelName.parse("me/c:v1"))
    assert copied.digest == store.get(ModelName.parse("m")).digest
    assert store.delete(ModelName.parse("m")) == 0
    assert names(store) == ["me/c:v1"]
    assert store.get(copied.name).gguf is not None
    with pytest.raises(ModelNotFound):
        store.copy(ModelName.parse("m"), ModelName.parse("x"))


def test_delete_frees_what_nobody_needs(store: Store, create: Create, scripted: str) -> None:
    """model-store 24 to 26, native-api 269."""
    create(model="n", base="m", system="another")
    config_size = store.get(ModelName.parse("n")).manifest.config.size
    assert store.delete(ModelName.parse("N")) == len("another")
    assert not manifest_path(store, "n").parent.exists()
    assert store.blobs.has(scripted)
    weights = store.blobs.path(scripted).stat().st_size
    assert store.delete(ModelName.parse("m")) == weights + config_size
    assert files(store) == set()
    assert list(store.manifests.folder.iterdir()) == []
    with pytest.raises(ModelNotFound):
        store.delete(ModelName.parse("m"))


def test_damaged_manifests_can_be_deleted(store: Store, scripted: str) -> None:
    path = manifest_path(store, "m:odd")
    path.write_text("{")
    before = files(store)
    assert store.delete(ModelName.parse("m:odd")) == 0
    assert (names(store), files(store)) == (["m:latest"], before)


def test_linked_folders_stay(store: Store, tmp_path: Path, scripted: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (manifest_path(store, "m").parent.parent / "linked").symlink_to(elsewhere)
    store.copy(ModelName.parse("m"), ModelName.parse("linked"))
    assert names(store) == ["linked:latest", "m:latest"]
    store.delete(ModelName.parse("linked"))
    store.prepare()
    assert elsewhere.is_dir()
    assert (manifest_path(store, "m").parent.parent / "linked").is_symlink()


# ---- at a start ----------------------------------------------------------------------------------------------------


def aged(store: Store, name: str, hours: float, data: bytes = b"x") -> Path:
    path = store.blobs.folder / name
    path.write_bytes(data)
    moment = time.time() - hours * HOUR
    os.utime(path, (moment, moment))
    return path


@pytest.mark.parametrize(
    ("name", "hours", "stays"),
    [
        (f"sha256-{'1' * 64}", 1.1, False),
        (f"sha256-{'1' * 64}", 0.9, True),
        (f"sha256-{'1' * 64}-partial", 1000, True),
        (f"sha256-{'1' * 64}-partial-12", 1000, True),
        ("sha256-123456789", 1.1, False),
        ("sha256-123456789", 0.9, True),
        ("COPY12", 1.1, False),
        ("notes.txt", 100, True),
    ],
)
def test_start_removes_what_is_old_and_unused(
    store: Store, scripted: str, name: str, hours: float, stays: bool
) -> None:
    """model-store 30, 31 and 34, runtime 34; a download that broke off stays, and looks fresh to Ollama, which would
    remove it."""
    path = aged(store, name, hours)
    store.prepare()
    assert path.exists() is stays
    if "partial" in name:
        assert time.time() - path.stat().st_mtime < HOUR
    assert names(store) == ["m:latest"]


def test_start_keeps_everything_when_unsure(store: Store, scripted: str) -> None:
    """model-store 32 and 33, runtime 34, 35"""
    path = aged(store, f"sha256-{'1' * 64}", 5)
    store.prepare(noprune=True)
    assert path.exists()
    broken = manifest_path(store, "broken")
    broken.parent.mkdir()
    broken.write_text("{")
    store.prepare(noprune=False)
    assert path.exists()
    broken.unlink()
    store.prepare(noprune=False)
    assert not path.exists()
    assert not broken.parent.exists()


def test_start_keeps_what_models_need(store: Store, scripted: str) -> None:
    for path in store.blobs.folder.iterdir():
        os.utime(path, (1, 1))
    store.prepare(now=time.time() + 1000 * HOUR)
    assert store.list()[0].gguf is not None


def test_start_touches_no_folders_and_links(store: Store) -> None:
    (store.blobs.folder / "sha256-1").mkdir()
    (store.blobs.folder / f"sha256-{'2' * 64}").symlink_to("/nowhere")
    store.prepare(now=time.time() + 1000 * HOUR)
    assert len(files(store)) == 2


def test_old_blob_names(store: Store, scripted: str) -> None:
    """model-store 20, runtime 33"""
    path = store.blobs.path(scripted)
    path.rename(path.with_name(scripted))
    assert store.list()[0].gguf is None
    store.prepare()
    assert store.list()[0].gguf is not None


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="could not prepare the model folder"):
        Store(tmp_path / "file" / "models").prepare()
