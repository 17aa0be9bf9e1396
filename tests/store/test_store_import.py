"""GGUF files imported where they are: what is found, what is left out, what becomes of it (model-store 90, 91, 92)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from server.errors import Cancelled, InvalidRequest, NotFound
from server.messages.names import ModelName
from server.store import CreateRequest, Store
from server.store.importing import ImportLine, Source, import_files, make_plan, preview
from server.store.links import hash_file
from server.store.manifest import MODEL, PROJECTOR
from tests.store.gguf_builder import GgufFile, TensorEntry, small_model


def model_bytes(name: str = "small", **changes: Any) -> bytes:
    return small_model(general__name=name, **changes).encoded()


def projector_bytes(width: int = 32, file_type: int = 1) -> bytes:
    metadata = [("general.architecture", "clip"), ("general.file_type", file_type), ("clip.has_vision_encoder", True)]
    return GgufFile([*metadata, ("clip.vision.projection_dim", width)], [TensorEntry("v.x", (32,), 1)]).encoded()


def shard_bytes(number: int, count: int) -> bytes:
    whole = small_model()
    tensors = [whole.tensors[number]] if number else whole.tensors[:1]
    metadata = whole.metadata if number == 0 else [("general.architecture", "llama")]
    return GgufFile([*metadata, ("split.no", number), ("split.count", count)], tensors).encoded()


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def run(
    store: Store, *paths: Path, name: str = "", join: bool = False, source: Source | None = None
) -> list[ImportLine]:
    lines: list[ImportLine] = []
    import_files(store, make_plan(store, paths, name=name, source=source), lines.append, join=join)
    return lines


def ended(lines: list[ImportLine]) -> list[tuple[str, str]]:
    return [(line.status, line.name or line.reason) for line in lines if line.name or line.reason]


def rows(store: Store, *paths: Path, **more: Any) -> list[dict[str, object]]:
    return preview(store, make_plan(store, paths, **more))


def listed(store: Store) -> list[str]:
    return sorted(model.name.short for model in store.list())


def test_a_file_becomes_a_model_and_stays_where_it_is(store: Store, tmp_path: Path) -> None:
    data = model_bytes(tokenizer__chat_template="{{ messages }}")
    path = put(tmp_path / "theirs" / "Tiny-Q8_0.gguf", data)
    before = path.stat()
    lines = run(store, path)
    assert ended(lines) == [("imported", "Tiny:Q8_0")]
    assert lines[-1] == ImportLine(status="success", models=("Tiny:Q8_0",))
    assert [line.total for line in lines if line.status == "reading"] == [len(data)]
    model = store.get(ModelName.parse("Tiny:Q8_0"))
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert [layer.digest for layer in model.manifest.layers if layer.media_type == MODEL] == [digest]
    assert os.readlink(store.blobs.path(digest)) == str(path)
    assert model.gguf is not None
    assert model.gguf.chat_template == "{{ messages }}"
    after = path.stat()
    assert (before.st_mtime_ns, before.st_ino, before.st_nlink) == (after.st_mtime_ns, after.st_ino, after.st_nlink)


def test_a_dry_run_tells_all_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    data = model_bytes()
    put(folder / "a-F16.gguf", data)
    put(folder / "broken.gguf", data[:200])
    put(folder / "other.txt", b"GGUF")
    put(folder / "v1.gguf", small_model().encoded().replace(b"GGUF\3", b"GGUF\1", 1))
    plan = make_plan(store, [folder])
    assert preview(store, plan) == [
        {
            "path": str(folder / "a-F16.gguf"), "name": "a:F16", "size": len(data), "architecture": "llama",
            "quantization": "F16", "parameter_size": "512",
        }
    ]  # fmt: skip
    assert [file.path.name for file in plan.skipped] == ["broken.gguf", "v1.gguf"]
    assert all(file.reason.startswith("it is broken or incomplete: ") for file in plan.skipped)
    assert store.list() == []
    assert list(store.blobs.folder.iterdir()) == []


def test_broken_files_keep_no_others(store: Store, tmp_path: Path) -> None:
    put(tmp_path / "theirs" / "broken.gguf", b"GGUF")
    put(tmp_path / "theirs" / "sound-F16.gguf", model_bytes())
    assert [status for status, _ in ended(run(store, tmp_path / "theirs"))] == ["skipped", "imported"]
    assert listed(store) == ["sound:F16"]


def test_what_is_known_is_not_read_twice(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "theirs" / "a-F16.gguf", model_bytes())
    copy = put(tmp_path / "theirs" / "sub" / "b-F16.gguf", model_bytes())
    assert ended(run(store, path)) == [("imported", "a:F16")]
    read: list[Path] = []
    monkeypatch.setattr(
        "server.store.importing.importer.hash_file", lambda path, report: (read.append(path), hash_file(path))[1]
    )
    assert ended(run(store, path)) == [("known", "a:F16")]
    assert read == []
    assert [row["known_as"] for row in rows(store, path)] == ["a:F16"]
    assert read == []
    assert ended(run(store, copy)) == [("known", "a:F16")]
    assert read == [copy]
    assert [row["known_as"] for row in rows(store, copy)] == ["a:F16"]
    assert listed(store) == ["a:F16"]


def test_a_model_that_was_downloaded_is_known(store: Store, tmp_path: Path) -> None:
    digest, _ = store.blobs.write(model_bytes())
    store.create(CreateRequest(model="pulled", files={"x.gguf": digest}), lambda _: None)
    path = put(tmp_path / "theirs" / "a-F16.gguf", model_bytes())
    assert ended(run(store, path)) == [("known", "pulled:latest")]
    assert not store.blobs.path(digest).is_symlink()
    assert ended(run(store, path, name="mine")) == [("imported", "mine:latest")]


def test_names_never_collide(store: Store, tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "theirs" / str(number) / "a-F16.gguf", model_bytes(str(number)))
    assert ended(run(store, tmp_path / "theirs")) == [
        ("imported", "a:F16"), ("imported", "a-2:F16"), ("imported", "a-3:F16"),
    ]  # fmt: skip
    put(tmp_path / "theirs" / "4" / "A-f16.gguf", model_bytes("4"))
    assert ended(run(store, tmp_path / "theirs"))[-1] == ("imported", "A-4:f16")


def test_a_file_that_changed_is_imported_again_under_its_name(store: Store, tmp_path: Path) -> None:
    path = put(tmp_path / "theirs" / "a-F16.gguf", model_bytes("one"))
    run(store, path)
    old = {path.name for path in store.blobs.folder.iterdir() if path.is_symlink()}
    put(path, model_bytes("another"))
    assert ended(run(store, path)) == [("imported", "a:F16")]
    model = store.get(ModelName.parse("a:F16"))
    assert [part.state for part in model.linked] == ["sound"]
    assert model.gguf is not None
    assert model.gguf.get("general.name") == "another"
    assert old & set(os.listdir(store.blobs.folder)) == set()


def test_hugging_face_links_are_followed_to_the_file(store: Store, tmp_path: Path) -> None:
    """One blob for two revisions; the name of the blob is its digest, so that a dry run knows it without reading."""
    data = model_bytes()
    repository = tmp_path / "hub" / "models--ada--Tiny-GGUF"
    blob = put(repository / "blobs" / hashlib.sha256(data).hexdigest(), data)
    for revision in ("one", "two"):
        link = repository / "snapshots" / revision / "Tiny-Q4_K_M.gguf"
        link.parent.mkdir(parents=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    assert ended(run(store, tmp_path / "hub")) == [("imported", "ada/Tiny:Q4_K_M")]
    model = store.get(ModelName.parse("ada/Tiny:Q4_K_M"))
    assert model.model_path is not None
    assert os.readlink(model.model_path) == str(blob)
    assert model.linked[0].path == str(repository / "snapshots" / "one" / "Tiny-Q4_K_M.gguf")
    assert [row["known_as"] for row in rows(store, tmp_path / "hub")] == ["ada/Tiny:Q4_K_M"]


def test_an_encoder_goes_with_the_models_of_its_repository(store: Store, tmp_path: Path) -> None:
    """91; of several the one that people mean, and none of another width"""
    models = tmp_path / ".lmstudio" / "models"
    put(models / "ada" / "Eye-GGUF" / "Eye-Q4_0.gguf", model_bytes("q4"))
    put(models / "ada" / "Eye-GGUF" / "Eye-Q8_0.gguf", model_bytes("q8"))
    put(models / "ada" / "Eye-GGUF" / "mmproj-F32.gguf", projector_bytes(file_type=0))
    chosen = put(models / "ada" / "Eye-GGUF" / "mmproj-F16.gguf", projector_bytes())
    put(models / "ada" / "Blind-GGUF" / "Blind-Q4_0.gguf", model_bytes("blind"))
    put(models / "ada" / "Blind-GGUF" / "mmproj-wide.gguf", projector_bytes(width=64))
    found = {str(row["name"]): row.get("projector", "") for row in rows(store, models)}
    assert found == {"ada/Blind:Q4_0": "", "ada/Eye:Q4_0": str(chosen), "ada/Eye:Q8_0": str(chosen)}
    run(store, models)
    model = store.get(ModelName.parse("ada/Eye:Q4_0"))
    assert [layer.media_type for layer in model.manifest.layers] == [MODEL, PROJECTOR]
    assert [part.path for part in model.linked] == [
        str(models / "ada" / "Eye-GGUF" / "Eye-Q4_0.gguf"), str(chosen),
    ]  # fmt: skip
    chosen.unlink()
    assert store.get(model.name).linked[1].state == "gone"


def test_encoders_in_a_plain_folder(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    put(folder / "Eye-VL-Q4_0.gguf", model_bytes("eye"))
    put(folder / "Blind-Q4_0.gguf", model_bytes("blind"))
    encoder = put(folder / "mmproj-Eye-VL-f16.gguf", projector_bytes())
    found = {str(row["name"]): row.get("projector", "") for row in rows(store, folder)}
    assert found == {"Blind:Q4_0": "", "Eye-VL:Q4_0": str(encoder)}
    encoder.rename(folder / "mmproj-model-f16.gguf")
    plan = make_plan(store, [folder])
    assert [candidate.projector for candidate in plan.candidates] == [None, None]
    assert [(file.path.name, file.reason) for file in plan.skipped] == [
        ("mmproj-model-f16.gguf", "it is the picture or sound encoder of a model not found with it")
    ]


def test_parts_are_one_model_and_copied_only_when_allowed(store: Store, tmp_path: Path) -> None:
    """92"""
    folder = tmp_path / "theirs"
    parts = [put(folder / f"Big-F16-0000{n + 1}-of-00003.gguf", shard_bytes(n, 3)) for n in range(3)]
    size = sum(part.stat().st_size for part in parts)
    (row,) = rows(store, folder)
    assert (row["name"], row["parts"], row["size"], row["copies_bytes"]) == ("Big:F16", 3, size, size)
    ((status, reason),) = ended(run(store, folder))
    assert status == "failed"
    assert "3 parts" in reason
    assert "--join" in reason
    assert listed(store) == []
    assert ended(run(store, folder, join=True)) == [("imported", "Big:F16")]
    model = store.get(ModelName.parse("Big:F16"))
    assert model.linked == ()
    assert model.gguf is not None
    assert len(model.gguf.tensors) == 3
    assert all(part.exists() for part in parts)


def test_a_missing_part_is_named(store: Store, tmp_path: Path) -> None:
    put(tmp_path / "theirs" / "Big-F16-00001-of-00002.gguf", shard_bytes(0, 2))
    plan = make_plan(store, [tmp_path / "theirs"])
    assert plan.candidates == ()
    assert [file.reason for file in plan.skipped] == [
        'it is one of several parts: split GGUF "Big-F16" has 1 shards, expected 2'
    ]


def test_adapters_and_files_for_other_engines_are_left_out(store: Store, tmp_path: Path) -> None:
    """90, 109"""
    folder = tmp_path / "theirs"
    metadata = [("general.architecture", "llama"), ("general.type", "adapter")]
    put(folder / "lora.gguf", GgufFile(metadata, [TensorEntry("x", (32,), 1)]).encoded())
    put(folder / "oss.gguf", small_model(general__architecture="gptoss", gptoss__block_count=2,
        gptoss__embedding_length=32, gptoss__attention__head_count=4).encoded())  # fmt: skip
    reasons = {file.path.name: file.reason for file in make_plan(store, [folder]).skipped}
    assert "LoRA adapter" in reasons["lora.gguf"]
    assert "another engine" in reasons["oss.gguf"]


def test_the_model_folder_itself_is_passed_over(store: Store, tmp_path: Path) -> None:
    path = put(store.root / "extra" / "a.gguf", model_bytes())
    with pytest.raises(NotFound, match="no GGUF files in"):
        make_plan(store, [path.parent])


def test_folders_that_link_in_a_circle_end(store: Store, tmp_path: Path) -> None:
    put(tmp_path / "theirs" / "a-F16.gguf", model_bytes())
    (tmp_path / "theirs" / "again").symlink_to(tmp_path / "theirs")
    assert len(make_plan(store, [tmp_path / "theirs"]).candidates) == 1


def test_a_pipe_is_no_model(store: Store, tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    os.mkfifo(tmp_path / "pipe.gguf")
    (file,) = make_plan(store, [tmp_path / "pipe.gguf"]).skipped
    assert file.reason == "it is not a file"


def test_one_name_is_for_one_model(store: Store, tmp_path: Path) -> None:
    put(tmp_path / "theirs" / "a-F16.gguf", model_bytes("a"))
    put(tmp_path / "theirs" / "b-F16.gguf", model_bytes("b"))
    with pytest.raises(InvalidRequest, match="here are 2"):
        make_plan(store, [tmp_path / "theirs"], name="x")
    assert ended(run(store, tmp_path / "theirs" / "a-F16.gguf", name="me/x:1")) == [("imported", "me/x:1")]


def test_one_that_fails_keeps_no_other(store: Store, tmp_path: Path) -> None:
    first = put(tmp_path / "theirs" / "a-F16.gguf", model_bytes("a"))
    put(tmp_path / "theirs" / "b-F16.gguf", model_bytes("b"))
    plan = make_plan(store, [tmp_path / "theirs"])
    first.unlink()
    lines: list[ImportLine] = []
    import_files(store, plan, lines.append)
    assert [status for status, _ in ended(lines)] == ["failed", "imported"]
    assert lines[-1].models == ("b:F16",)


def test_who_leaves_stops_it(store: Store, tmp_path: Path) -> None:
    put(tmp_path / "theirs" / "a-F16.gguf", model_bytes("a"))

    def leave(_line: ImportLine) -> None:
        raise Cancelled()

    with pytest.raises(Cancelled):
        import_files(store, make_plan(store, [tmp_path / "theirs"]), leave)
    assert store.list() == []


def test_llama_cpps_lists_tell_the_repository(store: Store, tmp_path: Path) -> None:
    cache = tmp_path / "llama.cpp"
    put(cache / "manifest=ggml-org=tiny_it-GGUF=latest.json", b"{}")
    put(cache / "ggml-org_tiny_it-GGUF_tiny-it-Q8_0.gguf", model_bytes())
    encoder = put(cache / "ggml-org_tiny_it-GGUF_mmproj-tiny-f16.gguf", projector_bytes())
    put(cache / "other-F16.gguf", model_bytes("other"))
    found = {str(row["name"]): row.get("projector", "") for row in rows(store, cache, source="llama.cpp")}
    assert found == {"ggml-org/tiny_it:Q8_0": str(encoder), "other:F16": ""}
