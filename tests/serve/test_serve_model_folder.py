"""Imported models and a moving folder under a real server: answers go on, and what is missing is said."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from server.client import Client, file_digest
from server.errors import PunaError
from server.settings.file import read_file
from tests.golden.server import RunningServer, running_server

LONG = {"model": "m", "prompt": "hello", "options": {"num_predict": 100}, "raw": True}
WAIT_SECONDS = 60


@pytest.fixture
def server() -> Iterator[RunningServer]:
    """With its models in the default folder, so that the settings file decides."""
    with running_server({"OLLAMA_MODELS": "", "OLLAMA_CONTEXT_LENGTH": "1024"}) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.base) as client:
        yield client


@pytest.fixture
def weights(models: pathlib.Path, server: RunningServer) -> pathlib.Path:
    path = server.home / "theirs" / "scripted.gguf"
    path.parent.mkdir()
    shutil.copyfile(models / "scripted.gguf", path)
    return path


def ask(client: Client, model: str = "m") -> str:
    with client.generate({"model": model, "prompt": "hello", "options": {"num_predict": 5}, "raw": True}) as stream:
        return "".join(str(line.get("response", "")) for line in stream)


def imported(client: Client, path: pathlib.Path, **fields: Any) -> list[str]:
    with client.import_models({"paths": [str(path)], **fields}) as stream:
        return [str(line["status"]) for line in stream]


def test_an_imported_model_runs_until_its_file_is_lost(client: Client, weights: pathlib.Path) -> None:
    assert imported(client, weights, name="m") == ["reading", "imported", "success"]
    answer = ask(client)
    assert answer
    client.unload("m")
    gone = weights.with_name("elsewhere.gguf")
    weights.rename(gone)
    with pytest.raises(PunaError, match=f"The file {weights} of model m:latest is gone") as caught:
        ask(client)
    assert caught.value.status == 500
    with pytest.raises(PunaError, match="is gone"):
        client.load("m")
    client.unload("m")  # what is not loaded needs no file
    gone.rename(weights)
    assert ask(client) == answer
    client.unload("m")
    with weights.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"\0\1\2\3\4\5\6\7")
    with pytest.raises(PunaError, match=f"The file {weights} of model m:latest has changed since it was imported"):
        ask(client)
    client.delete("m")
    assert weights.exists()


def test_the_folder_moves_while_models_answer(server: RunningServer, client: Client, weights: pathlib.Path) -> None:
    old, new = server.home / ".ollama" / "models", server.home / "drive" / "models"
    new.parent.mkdir()
    imported(client, weights, name="linked")
    digest = upload(client, weights)
    with client.create({"model": "m", "files": {"m.gguf": digest}}) as stream:
        assert list(stream)[-1] == {"status": "success"}
    before = [(model["name"], model["digest"], model["modified_at"]) for model in client.tags()]
    has_begun, ended = threading.Event(), threading.Event()
    answers: list[dict[str, Any]] = []

    def talk() -> None:
        with client.generate(LONG) as stream:
            for line in stream:
                answers.append(dict(line))
                has_begun.set()
        ended.set()

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        assert has_begun.wait(WAIT_SECONDS)
        with client.move_models(str(new)) as stream:
            statuses = []
            for line in stream:
                statuses.append(str(line["status"]))
                assert len(client.tags()) == len(before)
                assert ask(client)
    finally:
        talking.join(WAIT_SECONDS)
    assert ended.is_set()
    assert answers[-1]["done"]
    assert answers[-1]["eval_count"] > 5
    assert statuses[-1] == "success"
    assert not old.exists()
    assert [(model["name"], model["digest"], model["modified_at"]) for model in client.tags()] == before
    assert ask(client)
    assert ask(client, "linked")
    settings = next(server.home.rglob("settings.toml"))
    assert read_file(settings) == {"models_dir": str(new)}
    assert all(model["path"].startswith(str(new)) for model in client.status()["models"])


def test_a_folder_of_the_environment_is_not_moved(models: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with (
        running_server({}) as running,
        Client(running.base) as client,
        pytest.raises(PunaError, match="set by OLLAMA_MODELS in the server's environment"),
        client.move_models(str(tmp_path / "new")) as stream,
    ):
        list(stream)
    assert not (tmp_path / "new").exists()


def test_a_missing_drive_stops_no_start(tmp_path: pathlib.Path) -> None:
    """The server starts, says what is missing, makes nothing, and goes on when the drive is back."""
    drive, away = tmp_path / "drive", tmp_path / "unplugged"
    env = {"OLLAMA_MODELS": str(drive / "models"), "HOME": str(tmp_path / "home")}
    with running_server(env) as running, Client(running.base) as client:
        assert client.tags() == []
    drive.rename(away)
    with running_server(env) as running, Client(running.base) as client:
        sentence = f"The model folder {drive / 'models'} is not there any more"
        with pytest.raises(PunaError, match=sentence):
            client.tags()
        with pytest.raises(PunaError, match=sentence):
            ask(client)
        with pytest.raises(PunaError, match=sentence):
            ask(client, "puna-starter")
        assert client.status()["state"] == "ready"
        assert sentence in client.models_folder()["fault"]
        assert sentence in running.log
        assert not drive.exists()
        away.rename(drive)
        assert client.tags() == []


def upload(client: Client, path: pathlib.Path) -> str:
    digest = file_digest(path)
    client.upload_blob(path, digest)
    return digest


def test_the_command_imports_and_moves(server: RunningServer, weights: pathlib.Path) -> None:
    environ = {**os.environ, "HOME": str(server.home), "OLLAMA_HOST": server.base}

    def puna(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "server.cli.main", *args]
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)

    done = puna("import", str(weights.parent), "--dry-run")
    assert (done.returncode, done.stdout.split()[5:7]) == (0, ["scripted:F16", done.stdout.split()[6]]), done
    done = puna("import", str(weights))
    assert (done.returncode, done.stdout) == (0, f"imported 'scripted:F16' from {weights}\n"), done
    done = puna("models", "move", str(server.home / "new"))
    assert (done.returncode, done.stdout) == (0, f"the models are in {server.home / 'new'} now\n"), done
    weights.unlink()
    done = puna("list")
    assert "scripted:F16" in done.stdout
    assert f"The file {weights} of model scripted:F16 is gone" in done.stderr
    done = puna("run", "scripted:F16", "hi")
    assert done.returncode == 1
    assert f"Error: The file {weights} of model scripted:F16 is gone" in done.stderr
    done = puna("rm", "scripted:F16")
    assert (done.returncode, done.stdout) == (0, "deleted 'scripted:F16'\n")
