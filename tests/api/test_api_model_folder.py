"""Our own routes for importing and moving models, on a real store."""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

import httpx2
import pytest

from server.api.model_folder import check_setting
from server.errors import FolderMissing, MoveRefused
from server.inference import Catalog
from server.settings import Settings
from server.store.presence import Presence
from tests.api.conftest import Server

pytestmark = pytest.mark.anyio


def lines(answer: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture
def theirs(models: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    shutil.copyfile(models / "bare.gguf", folder / "Bare-Q8_0.gguf")
    (folder / "broken.gguf").write_bytes(b"GGUF")
    return folder


def with_catalog(server: Server) -> None:
    server.services.catalog.__dict__.clear()
    server.services.catalog.__class__ = Catalog
    server.services.catalog.__init__(server.services.store, None)


async def test_a_dry_run_lists_and_changes_nothing(server: Server, theirs: pathlib.Path) -> None:
    answer = await server.post("/puna/v1/import", {"paths": [str(theirs)], "dry_run": True})
    assert answer.status_code == 200
    found = answer.json()
    assert [(row["name"], row["path"]) for row in found["models"]] == [("Bare:Q8_0", str(theirs / "Bare-Q8_0.gguf"))]
    assert found["models"][0]["size"] == (theirs / "Bare-Q8_0.gguf").stat().st_size
    (skipped,) = found["skipped"]
    assert skipped["path"] == str(theirs / "broken.gguf")
    assert "broken or incomplete" in skipped["reason"]
    assert server.services.store.list() == []


async def test_import_tells_its_progress(server: Server, theirs: pathlib.Path) -> None:
    answer = await server.post("/puna/v1/import", {"paths": [str(theirs)]})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    told = lines(answer)
    assert [line["status"] for line in told] == ["skipped", "reading", "imported", "success"]
    assert told[2]["name"] == "Bare:Q8_0"
    assert told[3] == {"status": "success", "models": ["Bare:Q8_0"]}
    again = await server.post("/puna/v1/import", {"paths": [str(theirs)], "stream": False})
    assert again.json() == {"status": "success"}


async def test_tags_and_show_tell_a_file_that_is_gone(server: Server, theirs: pathlib.Path) -> None:
    await server.post("/puna/v1/import", {"paths": [str(theirs)], "name": "m"})
    with_catalog(server)
    path = theirs / "Bare-Q8_0.gguf"
    (tag,) = (await server.client.get("/api/tags")).json()["models"]
    assert tag["linked"] == [{"path": str(path), "state": "sound", "note": ""}]
    path.unlink()
    (tag,) = (await server.client.get("/api/tags")).json()["models"]
    assert tag["linked"][0]["state"] == "gone"
    assert tag["linked"][0]["note"].startswith(f"The file {path} of model m:latest is gone")
    shown = (await server.post("/api/show", {"model": "m"})).json()
    assert shown["linked"] == tag["linked"]
    assert shown["capabilities"] == ["completion"]
    deleted = await server.client.request("DELETE", "/api/delete", json={"model": "m"})
    assert deleted.status_code == 200
    assert (await server.client.get("/api/tags")).json() == {"models": []}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, '"paths" or a "source" is required'),
        ({"paths": ["relative.gguf"]}, 400, "must be an absolute path"),
        ({"source": "jan"}, 400, "known are lmstudio, huggingface, llama.cpp"),
        ({"paths": ["/"], "name": "a:b:c"}, 400, "invalid model name"),
        ({"paths": "x"}, 400, "cannot unmarshal string"),
    ],
)
async def test_import_refuses(server: Server, body: dict[str, Any], status: int, words: str) -> None:
    answer = await server.post("/puna/v1/import", body)
    assert answer.status_code == status
    assert words in answer.json()["error"]


async def test_a_folder_without_models_is_told(server: Server, tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").mkdir()
    for more in ({}, {"dry_run": True}):
        answer = await server.post("/puna/v1/import", {"paths": [str(tmp_path / "empty")], **more})
        assert (answer.status_code, answer.json()["error"]) == (404, f"there are no GGUF files in {tmp_path / 'empty'}")


@pytest.mark.parametrize("path", ["/puna/v1/import", "/puna/v1/models/move"])
async def test_no_web_page_may_do_that(server: Server, path: str) -> None:
    answer = await server.client.post(path, json={}, headers={"Origin": "http://localhost:3000"})
    assert answer.status_code == 403


async def test_move(server: Server, theirs: pathlib.Path, tmp_path: pathlib.Path) -> None:
    server.scheduler.__class__.release_folder = released = Released()  # type: ignore[attr-defined]
    await server.post("/puna/v1/import", {"paths": [str(theirs)], "name": "m"})
    folder = (await server.client.get("/puna/v1/models/folder")).json()
    assert (folder["path"], folder["fault"], folder["move"]) == (str(tmp_path / "models"), "", None)
    assert folder["free_bytes"] > 0
    answer = await server.post("/puna/v1/models/move", {"path": str(tmp_path / "new")})
    assert [line["status"] for line in lines(answer)][-2:] == ["deleting the old folder", "success"]
    assert released.folders == [str(tmp_path / "models")]
    assert (await server.client.get("/puna/v1/models/folder")).json()["path"] == str(tmp_path / "new")
    assert [model.name.short for model in server.services.store.list()] == ["m:latest"]
    assert not server.services.mover.is_moving


class Released:
    def __init__(self) -> None:
        self.folders: list[str] = []

    async def __call__(self, folder: str) -> None:
        self.folders.append(folder)


async def test_move_refuses(server: Server, tmp_path: pathlib.Path) -> None:
    answer = await server.post("/puna/v1/models/move", {})
    assert (answer.status_code, answer.json()["error"][:18]) == (400, '"path" is required')
    server.services.store.prepare()
    answer = await server.post("/puna/v1/models/move", {"path": str(tmp_path / "models" / "sub")})
    assert answer.status_code == 400
    assert "lie inside one another" in answer.json()["error"]


@pytest.mark.parametrize(("source", "words"), [("environment", "OLLAMA_MODELS in the"), ("flag", "flag --models-dir")])
def test_a_folder_that_the_settings_do_not_decide_stays(source: Any, words: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(MoveRefused, match=words) as caught:
        check_setting(Settings(sources={"models_dir": source}), tmp_path)
    assert f'models_dir = "{tmp_path}"' in str(caught.value)
    check_setting(Settings(sources={"models_dir": "file"}), tmp_path)
    check_setting(Settings(), tmp_path)


async def test_a_missing_folder_is_an_answer(server: Server, tmp_path: pathlib.Path) -> None:
    store = server.services.store
    store.presence = Presence(tmp_path / "state" / "folders.json")
    store.prepare()
    with_catalog(server)
    shutil.rmtree(store.root)
    for answer in (
        await server.client.get("/api/tags"),
        await server.post("/api/show", {"model": "m"}),
        await server.post("/api/create", {"model": "m", "from": "x"}),
        await server.client.get("/v1/models"),
        await server.post("/puna/v1/import", {"paths": [str(tmp_path)]}),
    ):
        assert answer.status_code == FolderMissing.status
        assert f"The model folder {store.root} is not there any more" in answer.text
    folder = (await server.client.get("/puna/v1/models/folder")).json()
    assert "Attach the drive" in folder["fault"]
    assert not store.root.exists()
