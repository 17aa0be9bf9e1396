"""`puna import` and `puna models`, against a server that answers from a script; and what list, show and rm say then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.cli.main import main
from tests.client.fake_server import FakeServer, failing, ok, streaming

SUCCESS = {"status": "success"}
NOTE = "The file /x/a.gguf of model a:latest is gone: put it back."


@pytest.fixture(autouse=True)
def home(fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "LLAMA_CACHE", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_HOST", fake.url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def body(fake: FakeServer) -> dict[str, Any]:
    return dict(fake.bodies("/puna/v1/import")[-1])


def test_import_sends_absolute_paths(fake: FakeServer, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "a.gguf").write_bytes(b"GGUF")
    fake.routes[("POST", "/puna/v1/import")] = streaming(
        {"status": "skipped", "path": "/x/b.gguf", "reason": "it is broken"},
        {"status": "reading", "path": "/x/a.gguf", "total": 100},
        {"status": "reading", "path": "/x/a.gguf", "total": 100, "completed": 64},
        {"status": "imported", "path": "/x/a.gguf", "name": "a:latest"},
        {"status": "known", "path": "/x/c.gguf", "name": "c:latest"},
        {**SUCCESS, "models": ["a:latest"]},
    )
    assert main(["import", "a.gguf", "--name", "a"]) == 0
    assert body(fake) == {"paths": [str(home / "a.gguf")], "source": "", "join": False, "name": "a"}
    assert capsys.readouterr() == (
        "imported 'a:latest' from /x/a.gguf\n'c:latest' is /x/c.gguf already\n",
        "reading /x/a.gguf\nskipped /x/b.gguf: it is broken\n",
    )


def test_a_dry_run(fake: FakeServer, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "hub").mkdir()
    found = {
        "models": [
            {"name": "a:Q4_0", "size": 4661224676, "quantization": "Q4_0", "path": "/x/a.gguf", "known_as": "b:latest"},
            {"name": "big:F16", "size": 999, "path": "/x/big-1.gguf", "parts": 3, "projector": "/x/mmproj.gguf"},
        ],
        "skipped": [{"path": "/x/b.gguf", "reason": "it is broken"}],
    }
    fake.routes[("POST", "/puna/v1/import")] = ok(found)
    assert main(["import", "hub", "--dry-run"]) == 0
    assert body(fake)["dry_run"] is True
    out, err = capsys.readouterr()
    table = [[cell.strip() for cell in line.split("    ") if cell.strip()] for line in out.splitlines()]
    assert table == [
        ["NAME", "SIZE", "QUANTIZATION", "NOTE", "PATH"],
        ["a:Q4_0", "4.7 GB", "Q4_0", "known as b:latest", "/x/a.gguf"],
        ["big:F16", "999 B", "-", "3 parts, to be copied with --join, with mmproj.gguf", "/x/big-1.gguf"],
    ]
    assert err == "skipped /x/b.gguf: it is broken\n"
    assert main(["import", "hub", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ("lmstudio", ".lmstudio/models"),
        ("huggingface", ".cache/huggingface/hub"),
        ("llama.cpp", ".cache/llama.cpp"),
    ],
)
def test_from_a_program(
    source: str, folder: str, fake: FakeServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert main(["import", "--from", source]) == 1
    (home / folder).mkdir(parents=True)
    fake.routes[("POST", "/puna/v1/import")] = streaming({"status": "imported", "name": "a", "path": "p"}, SUCCESS)
    assert main(["import", "--from", source]) == 0
    assert body(fake) == {"paths": [str(home / folder)], "source": source, "join": False}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "name files or folders, or a program with --from: lmstudio, huggingface, llama.cpp"),
        (["--from", "jan"], '"jan" is no program that models are imported from; known are lmstudio, huggingface'),
        (["gone.gguf"], "gone.gguf does not exist"),
    ],
)
def test_what_import_refuses(
    args: list[str], sentence: str, fake: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", *args]) == 1
    assert sentence in capsys.readouterr().err
    assert fake.bodies("/puna/v1/import") == []


def test_a_file_that_failed_makes_status_1(fake: FakeServer, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"status": "failed", "path": "/x/a.gguf", "reason": "the disk is full"}
    fake.routes[("POST", "/puna/v1/import")] = streaming(
        failed, {"status": "imported", "name": "b", "path": "p"}, SUCCESS
    )
    assert main(["import", "."]) == 1
    assert "Error: /x/a.gguf: the disk is full\n" in capsys.readouterr().err
    fake.routes[("POST", "/puna/v1/import")] = streaming(failed, SUCCESS)
    assert main(["import", ".", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"files": [failed]}
    fake.routes[("POST", "/puna/v1/import")] = failing(404, "there are no GGUF files in /x")
    assert main(["import", "."]) == 1
    assert capsys.readouterr().err.endswith("Error: there are no GGUF files in /x\n")


def test_list_and_show_tell_a_lost_file(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    linked = [{"path": "/x/a.gguf", "state": "gone", "note": NOTE}]
    fake.routes[("GET", "/api/tags")] = ok({"models": [{"name": "a:latest", "linked": linked}]})
    assert main(["list"]) == 0
    assert capsys.readouterr().err == NOTE + "\n"
    fake.routes[("POST", "/api/show")] = ok({"details": {"family": "llama"}, "linked": linked})
    assert main(["show", "a"]) == 0
    assert f"  Files of other programs\n    {NOTE}\n" in capsys.readouterr().out


def test_rm_says_what_stays(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    fake.routes[("POST", "/api/generate")] = ok({})
    fake.routes[("DELETE", "/api/delete")] = ok({})
    fake.routes[("POST", "/api/show")] = ok({"linked": [{"path": "/x/a.gguf", "state": "sound"}]})
    assert main(["rm", "a"]) == 0
    assert capsys.readouterr() == ("deleted 'a'\n", "/x/a.gguf stays where it is: Puna only used it there\n")
    fake.routes[("POST", "/api/show")] = ok({"linked": [{"path": "/x/a.gguf", "state": "gone", "note": NOTE}]})
    assert main(["rm", "a"]) == 0
    assert capsys.readouterr() == ("deleted 'a'\n", "")


def test_models_move(fake: FakeServer, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake.routes[("POST", "/puna/v1/models/move")] = streaming(
        {"status": "copying", "total": 10}, {"status": "left in /old, because Puna did not put it there: x"}, SUCCESS
    )
    assert main(["models", "move", "new"]) == 0
    assert fake.bodies("/puna/v1/models/move") == [{"path": str(home / "new")}]
    assert capsys.readouterr() == (
        f"the models are in {home / 'new'} now\n", "copying\nleft in /old, because Puna did not put it there: x\n"
    )  # fmt: skip
    fake.routes[("POST", "/puna/v1/models/move")] = failing(400, "the models are in /old already")
    assert main(["models", "move", "/old"]) == 1
    assert capsys.readouterr().err.endswith("Error: the models are in /old already\n")
    assert main(["models", "copy", "x"]) == 1
    assert "puna models move FOLDER" in capsys.readouterr().err


def test_models_shows_the_folder(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    folder = {"path": "/m", "set_by": "default", "fault": "", "free_bytes": 42 * 10**9, "move": None}
    fake.routes[("GET", "/puna/v1/models/folder")] = ok(folder)
    assert main(["models"]) == 0
    assert capsys.readouterr() == ("/m\n", "42 GB free\n")
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == folder
    fake.routes[("GET", "/puna/v1/models/folder")] = ok({**folder, "fault": "The model folder /m is not there."})
    assert main(["models"]) == 1
    assert capsys.readouterr().err == "Error: The model folder /m is not there.\n"
    fake.routes[("GET", "/puna/v1/models/folder")] = ok({**folder, "move": {"to": "/n", "is_running": False}})
    assert main(["models"]) == 0
    assert "a move to /n was interrupted; the same command again finishes it" in capsys.readouterr().err
