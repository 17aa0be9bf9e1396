"""Servers that want keys: their own user, others, several of them, and what is left after a kill (compat-api 345)."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from server.client import Client
from server.errors import KeyWanted, PunaError
from server.secrets import SCOPES
from server.serve import BackgroundServer
from server.settings import Settings, paths
from tests.cli.program import ROOT, Program, ended_at_last, free_port
from tests.golden.server import RunningServer, running_server
from tests.secrets.keychains import NO_KEYCHAIN
from tests.serve.installed import be_user_of, server_with_keys

REQUIRED = {"PUNA_REQUIRE_KEY": "1", **NO_KEYCHAIN}
CHAT = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "SKY"}], "stream": False}
SKY = "The sky is blue because of Rayleigh scattering."


@pytest.fixture(scope="module")
def server(models: pathlib.Path) -> Iterator[RunningServer]:
    with server_with_keys(models) as running:
        yield running


@pytest.fixture(scope="module")
def keys(server: RunningServer) -> dict[str, str]:
    """One of each scope."""
    with Client(server.base) as client:
        return {scope: client.add_key(scope, scope)["key"] for scope in SCOPES}


@pytest.fixture
def program(server: RunningServer) -> Program:
    """`puna` of the server's own user."""
    return Program(server.home, server.base, dict(NO_KEYCHAIN))


@pytest.fixture
def stranger(server: RunningServer, tmp_path: pathlib.Path) -> Program:
    """`puna` of somebody else."""
    return Program(tmp_path / "home", server.base)


def ask(server: RunningServer, method: str, path: str, key: str, body: Any = None) -> httpx2.Response:
    headers = {"x-api-key": key} if "messages" in path else {"Authorization": f"Bearer {key}"}
    return httpx2.request(method, server.base + path, json=body, headers=headers, timeout=60, trust_env=False)


# ---- scopes, with answers of a real model --------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
def test_each_scope_may_ask_a_model_in_each_dialect(
    server: RunningServer, keys: dict[str, str], path: str, scope: str
) -> None:
    """compat-api 345"""
    answer = ask(server, "POST", path, keys[scope], CHAT)
    assert answer.status_code == 200
    assert SKY in answer.text
    assert ask(server, "POST", path, "nonsense", CHAT).status_code == 401


@pytest.mark.parametrize("scope", SCOPES)
def test_models_are_managed_and_keys_are_made_by_those_who_may(
    server: RunningServer, keys: dict[str, str], scope: str
) -> None:
    manages, administers = scope != "use", scope == "admin"
    key = keys[scope]
    copied = ask(server, "POST", "/api/copy", key, {"source": "m", "destination": scope})
    assert copied.status_code == (200 if manages else 403)
    assert ask(server, "DELETE", f"/v1/models/{scope}", key).status_code == (200 if manages else 403)
    made = ask(server, "POST", "/puna/v1/keys", key, {"name": f"by {scope}", "scope": "admin"})
    assert made.status_code == (200 if administers else 403)
    if administers:
        assert ask(server, "DELETE", f"/puna/v1/keys/by {scope}", key).status_code == 200


# ---- the command line ----------------------------------------------------------------------------------------------


def test_the_servers_own_user_needs_no_key(server: RunningServer, program: Program) -> None:
    for command in (["list"], ["ps"], ["show", "m"], ["run", "m", "SKY"], ["models"], ["cp", "m", "c"], ["rm", "c"]):
        result = program.run(*command)
        assert result.returncode == 0, result.stderr
    named = Program(server.home, f"localhost:{server.port}")
    assert named.run("list").returncode == 0


def test_somebody_else_needs_one(server: RunningServer, keys: dict[str, str], stranger: Program) -> None:
    result = stranger.run("list")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: the server wants an API key: put one into the variable OLLAMA_API_KEY.")
    assert stranger.run("--version").stdout.startswith("puna version is ")
    stranger.extra["OLLAMA_API_KEY"] = keys["use"]
    assert "m:latest" in stranger.run("list").stdout
    assert SKY in stranger.run("run", "m", "SKY").stdout
    result = stranger.run("rm", "m")
    assert result.returncode == 1
    assert 'has the scope "use", and this needs "manage"' in result.stderr


def test_a_key_from_the_command_line(server: RunningServer, program: Program) -> None:
    made = program.run("keys", "add", "my script", "--scope", "manage")
    key = made.stdout.strip()
    assert key.startswith("puna-")
    assert (
        made.stderr
        == "Keep it now, it is not shown again. Who sends it may ask models, and pull, make and remove them.\n"
    )
    assert ask(server, "GET", "/api/tags", key).status_code == 200
    [row] = [line for line in program.run("keys").stdout.splitlines() if line.startswith("my script ")]
    assert "manage" in row
    assert "Within the hour" in row
    told = json.loads(program.run("keys", "list", "--json").stdout)
    assert told["required"] is True
    assert key not in json.dumps(told)
    revoked = program.run("keys", "revoke", "my script")
    assert (revoked.returncode, revoked.stdout, revoked.stderr) == (0, "revoked 'my script'\n", "")
    assert ask(server, "GET", "/api/tags", key).status_code == 401


def test_another_account_of_the_machine_does_not_get_the_token(server: RunningServer, tmp_path: pathlib.Path) -> None:
    """A real one, which even reaches the folder."""
    if sys.platform == "win32" or os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    state = tmp_path / "state" / "Puna"
    for path in (tmp_path, *tmp_path.parents):
        if path != pathlib.Path("/") and path.stat().st_uid == 0:
            path.chmod(path.stat().st_mode | 0o055)
    shutil.copytree(server.home / ".local" / "state" / "Puna" / "servers", state / "servers")
    state.parent.chmod(0o755)
    for folder in (state, state / "servers"):
        folder.chmod(0o755)
    # It becomes somebody else after it has loaded what it needs: not everybody may read this Python.
    code = (
        "import os; from server.client.credentials import door; "
        f"look = lambda: print(door('{server.base}').headers, os.geteuid(), os.listdir('{state}/servers')); "
        "look(); os.setgroups([]); os.setegid(65534); os.seteuid(65534); look()"
    )
    environ = {**os.environ, "XDG_STATE_HOME": str(state.parent), "PYTHONPATH": str(ROOT)}
    seen = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True).stdout
    own, others = seen.splitlines()
    assert own.startswith("{'Authorization': 'Bearer puna-run-")
    assert others == f"{{}} 65534 ['127.0.0.1-{server.port}.json']"


def test_a_command_that_starts_the_server_is_let_in(tmp_path: pathlib.Path) -> None:
    port = free_port()
    program = Program(tmp_path / "home", f"127.0.0.1:{port}", dict(REQUIRED))
    with ended_at_last(port):
        for command in (["list"], ["keys", "add", "a"], ["keys"]):
            result = program.run(*command)
            assert result.returncode == 0, result.stderr
        assert httpx2.get(f"http://127.0.0.1:{port}/api/tags", trust_env=False).status_code == 401


def test_keys_that_are_not_required_are_said_to_be_so(tmp_path: pathlib.Path) -> None:
    with running_server(dict(NO_KEYCHAIN)) as server:
        program = Program(server.home, server.base)
        for command in (["keys", "add", "a"], ["keys"]):
            result = program.run(*command)
            assert result.returncode == 0
            assert "Note: the server lets everybody in, with a key or without." in result.stderr
            assert "PUNA_REQUIRE_KEY=1" in result.stderr
        result = Program(tmp_path / "home", server.base).run("keys", "add", "planted", "--scope", "admin")
        assert result.returncode == 1
        assert "wants an API key" in result.stderr


# ---- servers come, go and are killed -------------------------------------------------------------------------------


def test_a_token_is_for_one_run_and_gone_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server(REQUIRED) as server:
        be_user_of(server, monkeypatch)
        [file] = paths.servers_dir().iterdir()
        token = json.loads(file.read_bytes())["token"]
        assert ask(server, "GET", "/api/tags", token).status_code == 200
        assert token not in server.log
        server.process.terminate()
        server.process.wait(20)
        assert list(paths.servers_dir().iterdir()) == []


def test_keys_outlive_their_server_and_two_servers_of_one_user_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server(REQUIRED) as one:
        be_user_of(one, monkeypatch)
        home = {name: str(one.home) for name in ("HOME", "USERPROFILE", "LOCALAPPDATA")}
        with running_server({**REQUIRED, **home}) as other, Client(one.base) as client, Client(other.base) as second:
            tokens = {json.loads(file.read_bytes())["token"] for file in paths.servers_dir().iterdir()}
            assert len(tokens) == 2
            accepted = [
                [ask(server, "GET", "/api/tags", token).status_code for server in (one, other)] for token in tokens
            ]
            assert sorted(accepted) == [[200, 401], [401, 200]]
            key = client.add_key("a", "use")["key"]
            assert ask(other, "GET", "/api/tags", key).status_code == 200
            second.revoke_key("a")
            assert ask(one, "GET", "/api/tags", key).status_code == 401
            kept = second.add_key("b", "use")["key"]
        with running_server({**REQUIRED, **home}) as later:
            assert ask(later, "GET", "/api/tags", kept).status_code == 200


@pytest.mark.parametrize("told", [1, 5, 12])
def test_a_server_that_is_killed_while_keys_are_added_loses_none(told: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several at a time: every key that was told is there afterwards."""
    texts: dict[str, str] = {}
    lock = threading.Lock()
    with running_server(REQUIRED) as server:
        be_user_of(server, monkeypatch)

        def add(thread: int) -> None:
            with Client(server.base) as client:
                for number in range(100):
                    try:
                        key = client.add_key(f"{thread}-{number}", "use")["key"]
                    except PunaError:
                        return
                    with lock:
                        texts[f"{thread}-{number}"] = key
                        if len(texts) == told:
                            server.process.kill()

        threads = [threading.Thread(target=add, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.process.wait()
        home = {name: str(server.home) for name in ("HOME", "USERPROFILE", "LOCALAPPDATA")}
        with running_server({**REQUIRED, **home}) as again, Client(again.base) as client:
            assert set(texts) <= {key["name"] for key in client.keys()["keys"]}
            for name, text in texts.items():
                assert ask(again, "GET", "/api/tags", text).status_code == 200, name
            client.add_key("after", "use")


def test_the_server_of_the_tray_lets_its_own_client_in(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread, with its status as events."""
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    ready = threading.Event()
    server = BackgroundServer(
        Settings(port=0, models_dir=tmp_path / "models", require_key=True),
        lambda: ready.set() if server.state in ("ready", "failed") else None,
    )
    server.start()
    try:
        assert ready.wait(60)
        with Client(server.url) as client, client.events() as events:
            assert next(iter(events))["state"] == "ready"
            assert client.tags()
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
        with Client(server.url) as client, pytest.raises(KeyWanted):
            client.tags()
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "XDG_STATE_HOME"))
    finally:
        server.stop()
        assert server.join()


def test_no_key_is_in_the_log_however_much_it_says(models: pathlib.Path) -> None:
    """Nor one that somebody has put where a name belongs."""
    with server_with_keys(models, OLLAMA_DEBUG="2", OLLAMA_API_KEY="puna-of-the-server") as server:
        token = json.loads(next(paths.servers_dir().iterdir()).read_bytes())["token"]
        with Client(server.base) as client:
            key = client.add_key("a", "admin")["key"]
            for path in (f"/api/tags?key={key}", f"/{key}", f"/v1/models/{key}"):
                ask(server, "GET", path, key)
            ask(server, "POST", "/api/show", key, {"model": key})
            ask(server, "DELETE", f"/puna/v1/keys/{key}", key)
            ask(server, "GET", "/api/tags", key + "x")
            client.revoke_key("a")
        log = server.log
    assert '"/puna-..."' in log.replace("\\", "")
    for secret in (key, key.removeprefix("puna-"), token, "puna-of-the-server"):
        assert secret not in log
