"""cli 1: commands, help and mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.cli.main import COMMANDS, main
from tests.cli.program import Program
from tests.client.fake_server import FakeServer, ok


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def test_commands_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    """cli 7"""
    order = [
        "serve", "create", "import", "show", "run", "stop", "pull", "push", "signin", "signout", "list", "ps", "cp",
        "rm", "models", "keys", "help",
    ]  # fmt: skip
    for args in ([], ["--help"], ["-h"], ["help"]):
        assert main(args) == 0
        text = capsys.readouterr().out
        listed = text.partition("Available Commands:\n")[2].partition("\n\n")[0].splitlines()
        assert [line.split()[0] for line in listed] == order
        assert text.rstrip().endswith('Use "puna [command] --help" for more information about a command.')


@pytest.mark.parametrize("name", [name for name, _, _ in COMMANDS])
def test_every_command_has_help_in_two_ways(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    first = capsys.readouterr().out
    assert main(["help", name]) == 0
    assert capsys.readouterr().out == first
    assert first.splitlines()[2:3] == ["Usage:"]
    assert "Flags:" in first


def test_help_ends_with_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """cli 9"""
    main(["run", "--help"])
    tail = capsys.readouterr().out.partition("Environment Variables:\n")[2]
    assert [line.split()[0] for line in tail.splitlines()] == ["OLLAMA_EDITOR", "OLLAMA_HOST", "OLLAMA_NOHISTORY"]
    assert tail.startswith("      OLLAMA_EDITOR                 ")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["frobnicate"], 'unknown command "frobnicate" for "puna"'),
        (["lst"], 'unknown command "lst" for "puna"\n\nDid you mean this?\n\tlist'),
        (["show"], "accepts 1 arg(s), received 0"),
        (["show", "a", "b"], "accepts 1 arg(s), received 2"),
        (["cp", "a"], "accepts 2 arg(s), received 1"),
        (["rm"], "requires at least 1 arg(s), only received 0"),
        (["run"], "requires at least 1 arg(s), only received 0"),
        (["serve", "now"], "accepts 0 arg(s), received 1"),
        (["serve", "--noprune", "--num-parallel=x"], 'OLLAMA_NUM_PARALLEL is "x" (given as --num-parallel)'),
        (["serve", "--flash-attention", "off", "--max-queue", "x"], 'OLLAMA_MAX_QUEUE is "x" (given as --max-queue)'),
        (["start", "--noprune=banana"], 'OLLAMA_NOPRUNE is "banana" (given as --noprune)'),
        (["list", "--x"], "unknown flag: --x"),
        (["list", "-x"], "unknown shorthand flag: 'x' in -x"),
        (["--frob"], "unknown flag: --frob"),
        (["serve", "--host"], "flag needs an argument: --host"),
        (["run", "m", "--dimensions", "many"], 'invalid argument for "--dimensions" flag: '),
        (["help", "frobnicate"], 'unknown help topic "frobnicate"; `puna help` lists the commands'),
        (["pull"], "accepts 1 arg(s), received 0"),
        (["push", "m", "n"], "accepts 1 arg(s), received 2"),
        (["launch"], "this version of Puna cannot start other programs yet"),
        (["launch", "claude", "--model", "m", "--", "-x"], "this version of Puna cannot start other programs yet"),
        (["signin"], "this version of Puna has no accounts yet"),
        (["logout"], "this version of Puna has no accounts yet"),
    ],
)
def test_mistakes_are_one_line_and_status_1(args: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """cli 3, 4, 5"""
    assert main(args) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"Error: {sentence}")
    assert "Usage" not in err


def test_a_bad_setting_stops_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OLLAMA_NUM_PARALLEL", "many")
    for args in (["serve"], ["list"], ["--version"]):
        assert main(args) == 1
        assert capsys.readouterr().err.startswith('Error: OLLAMA_NUM_PARALLEL is "many" (in the environment)')


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ({"version": "0.33.0", "puna": "0.1.0"}, "puna version is 0.1.0\n"),
        ({"version": "0.33.0", "puna": "9.9"}, "puna version is 9.9\nWarning: client version is 0.1.0\n"),
        ({"version": "0.12.0"}, "ollama version is 0.12.0\nWarning: client version is 0.1.0\n"),
    ],
)
def test_version_with_a_server(
    version: dict[str, str],
    text: str,
    fake: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """cli 1"""
    fake.routes[("GET", "/api/version")] = ok(version)
    fake.routes[("GET", "/below/api/version")] = ok(version)
    for address in (fake.url, f"{fake.url}/below"):
        monkeypatch.setenv("OLLAMA_HOST", address)
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == text


def test_version_without_a_server_starts_none(tmp_path: Path) -> None:
    """cli 2"""
    program = Program(tmp_path / "home", "http://127.0.0.1:1")
    result = program.run("-v")
    assert (result.returncode, result.stdout) == (
        0,
        "Warning: could not connect to a running Puna instance\nWarning: client version is 0.1.0\n",
    )
    assert not list(program.home.iterdir())


def test_version_loads_no_heavy_module(tmp_path: Path) -> None:
    program = Program(tmp_path / "home", "http://127.0.0.1:1")
    program.extra["PYTHONPROFILEIMPORTTIME"] = "1"
    loaded = {line.rpartition("|")[2].strip() for line in program.run("--version").stderr.splitlines()}
    assert "server.client.identity" in loaded
    assert not loaded & {"click", "httpx2", "rich", "prompt_toolkit", "psutil", "starlette", "tomlkit"}
