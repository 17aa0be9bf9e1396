"""cli 2: commands start the server when none runs on this machine, and never for another machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from server.cli.main import main
from server.client import identify, owner_of
from tests.cli.program import Program, ended_at_last, free_port
from tests.client.fake_server import Answer, FakeServer, ok


def test_a_command_starts_the_server_and_leaves_it_running(tmp_path: Path) -> None:
    """cli 10, 11, improved: on every system"""
    port = free_port()
    program = Program(tmp_path / "home", f"127.0.0.1:{port}")
    models = tmp_path / "models"
    program.extra["OLLAMA_MODELS"] = "models"
    with ended_at_last(port):
        result = program.run("list", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith("NAME")
        assert identify("127.0.0.1", port).kind == "puna"
        assert models.is_dir(), "a relative folder is meant from where the command was given"
        first = owner_of(port).pid
        assert program.run("ps").returncode == 0
        assert owner_of(port).pid == first
    assert identify("127.0.0.1", port).kind == "none"


def test_a_server_that_cannot_start_is_explained(tmp_path: Path) -> None:
    port = free_port()
    program = Program(tmp_path / "home", f"127.0.0.1:{port}")
    no_folder = tmp_path / "file"
    no_folder.write_text("not a folder", encoding="utf-8")
    program.extra["OLLAMA_MODELS"] = str(no_folder)
    with ended_at_last(port):
        result = program.run("list")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: the Puna server could not be started: ")
    assert result.stderr.count("\n") == 1
    assert "server.log)" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_server_elsewhere_is_never_started(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Oddity 12; an address with TLS cannot be ours either"""
    monkeypatch.setenv("OLLAMA_HOST", f"https://127.0.0.1:{free_port()}")
    assert main(["list"]) == 1
    assert "run 'puna serve' there to start it" in capsys.readouterr().err
    monkeypatch.setenv("OLLAMA_HOST", "http://no-such-host.invalid:11434")
    assert main(["list"]) == 1
    assert capsys.readouterr().err.startswith(
        "Error: the connection to the server at http://no-such-host.invalid:11434"
    )
    assert not list(own_home.iterdir())


def test_another_program_on_the_port_is_named(
    own_home: Path, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.routes[("HEAD", "/")] = lambda asked: Answer(405)
    monkeypatch.setenv("OLLAMA_HOST", fake.url)
    assert main(["list"]) == 1
    assert capsys.readouterr().err == (
        f"Error: what listens at {fake.url} does not answer as a Puna server does: 405 Method Not Allowed\n"
    )


def test_another_program_with_a_page_of_its_own_is_named(
    own_home: Path, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It answers `/`, as a file server does, and knows nothing of models"""
    fake.routes[("GET", "/api/version")] = lambda asked: Answer(404, b"File not found", content_type="text/plain")
    monkeypatch.setenv("OLLAMA_HOST", fake.url)
    assert main(["list"]) == 1
    assert capsys.readouterr().err.startswith(f"Error: what listens at {fake.url} does not answer as a Puna server")


def test_a_server_that_stops_is_waited_for(
    own_home: Path, fake: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A restart: the command neither fails nor asks the server that is on its way out"""
    states = iter(("stopping", "stopping", "ready"))
    fake.routes[("GET", "/puna/v1/status")] = lambda asked: ok({"state": next(states)})(asked)
    fake.routes[("GET", "/api/tags")] = ok({"models": []})
    monkeypatch.setenv("OLLAMA_HOST", fake.url)
    assert main(["list"]) == 0
    assert capsys.readouterr().out.startswith("NAME")
    assert next(states, None) is None
    assert [asked.path for asked in fake.asked][-1] == "/api/tags"


def test_a_log_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    port = free_port()
    program = Program(tmp_path / "home", f"127.0.0.1:{port}")
    (program.home / ".local").write_text("no folder", encoding="utf-8")
    logs = tmp_path / "temporary"
    logs.mkdir()
    program.extra |= {"TMPDIR": str(logs), "OLLAMA_MODELS": str(tmp_path / "models")}
    with ended_at_last(port):
        assert program.run("list").returncode == 0
        assert "Listening on" in next(logs.glob("puna-server-*.log")).read_text(encoding="utf-8")


def test_the_server_is_this_very_program() -> None:
    from server.cli.connect import serve_command

    assert serve_command() == [sys.executable, "-m", "server.cli.main", "serve"]
