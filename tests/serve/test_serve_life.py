"""Start, stop and what is left: the server in the foreground, in a thread, and beside another program on its port."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from server.client import Client
from server.serve import BackgroundServer, PortTaken
from server.serve.listener import listen
from server.settings import SETTINGS, Settings
from tests.golden.server import RunningServer, running_server
from tests.serve.installed import server_with_models

WAIT_SECONDS = 60.0


# A terminal that is closed sends SIGHUP.
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_a_signal_ends_the_server_and_every_runner(server: RunningServer, client: Client, number: int) -> None:
    """runtime 38"""
    client.load("m")
    processes = psutil.Process(server.process.pid).children(recursive=True)
    assert processes
    server.process.send_signal(number)
    assert server.process.wait(WAIT_SECONDS) == 0
    assert not psutil.wait_procs(processes, timeout=WAIT_SECONDS)[1]


def test_runners_die_with_a_server_that_is_killed(server: RunningServer, client: Client) -> None:
    client.load("m")
    processes = psutil.Process(server.process.pid).children(recursive=True)
    assert processes
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(WAIT_SECONDS)
    assert not psutil.wait_procs(processes, timeout=WAIT_SECONDS)[1]


def test_a_second_server_on_the_port_says_so_and_exits_1(server: RunningServer) -> None:
    """runtime 36"""
    environ = {**os.environ, "OLLAMA_HOST": server.base, "HOME": str(server.home)}
    second = subprocess.run(
        [sys.executable, "-m", "server.cli.main", "serve"], capture_output=True, text=True, env=environ, timeout=60
    )
    assert second.returncode == 1
    assert second.stderr.startswith(
        f"Error: 127.0.0.1:{server.port} is already in use by a running Puna server (process {server.process.pid})."
    )
    assert server.process.poll() is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_small_writes_leave_at_once(host: str) -> None:
    """Head and body of an answer are two writes; the second must not wait for the client to confirm the first."""

    async def accepted() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection: socket.socket = writer.get_extra_info("socket")
            found.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()
            await writer.wait_closed()

        listener = listen(host, 0)
        async with await asyncio.start_server(look, sock=listener):
            _, writer = await asyncio.open_connection(host, listener.getsockname()[1])
            flag = await found
            writer.close()
            await writer.wait_closed()
        return flag

    assert asyncio.run(accepted())


def test_the_log_begins_with_the_settings(server: RunningServer) -> None:
    """runtime 16, 17"""
    config = server.log.partition("server config ")[2].partition("\n")[0]
    named = re.findall(r"([A-Z_]{8,})=", config)
    assert named[: len(SETTINGS)] == [setting.env for setting in SETTINGS]
    assert {"OLLAMA_IGPU_ENABLE", "CUDA_VISIBLE_DEVICES", "HTTPS_PROXY", "NO_PROXY"} <= set(named)
    assert f"OLLAMA_HOST=127.0.0.1:{server.port}(environment)" in config
    assert "OLLAMA_KEEP_ALIVE=5m " in config
    assert "Ollama cloud disabled: false" in server.log


def test_variables_of_others_are_in_the_log_without_their_passwords(models: pathlib.Path) -> None:
    """runtime 16; and a word where Ollama's variable means nothing here"""
    environ = {"HTTPS_PROXY": "http://me:secret@proxy.example:8080", "OLLAMA_VULKAN": "1"}
    with running_server(environ) as server:
        assert "HTTPS_PROXY=http://...@proxy.example:8080" in server.log
        assert "OLLAMA_VULKAN is set, but means nothing to Puna" in server.log
        assert "secret" not in server.log


def test_secrets_of_the_environment_are_not_in_the_log(models: pathlib.Path) -> None:
    """runtime 99: no line shows the environment of a runner, not even the most talkative log"""
    environ = {"HF_TOKEN": "hush-token", "OPENAI_API_KEY": "hush-key", "OLLAMA_DEBUG": "2"}
    with server_with_models(models, **environ) as server, Client(server.base) as client:
        client.load("m")
        assert "level=DEBUG" in server.log
        assert "hush" not in server.log


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(models: pathlib.Path) -> None:
    """runtime 87: runners are reached by pipes; the proxy of this test is nobody"""
    nobody = "http://127.0.0.1:9"
    environ = {"HTTP_PROXY": nobody, "HTTPS_PROXY": nobody, "ALL_PROXY": nobody, "http_proxy": nobody}
    with server_with_models(models, **environ) as server, Client(server.base) as client:
        assert client.load("m")["done_reason"] == "load"


def test_the_key_of_the_machine_is_made_by_the_first_start(server: RunningServer) -> None:
    """runtime 32"""
    private, public = (server.home / ".ollama" / name for name in ("id_ed25519", "id_ed25519.pub"))
    deadline = time.monotonic() + WAIT_SECONDS
    while "Your new public key is: " not in server.log and time.monotonic() < deadline:
        server.wait(0.05)
    line = public.read_text().strip()
    assert f"Couldn't find '{private}'. Generating new private key." in server.log
    assert f"Your new public key is: {line}" in server.log
    assert private.read_bytes() not in server.log.encode()
    if sys.platform != "win32":
        assert [stat.S_IMODE(path.stat().st_mode) for path in (private, public)] == [0o600, 0o644]


def test_the_log_tells_of_the_machine_and_of_what_runners_say(models: pathlib.Path) -> None:
    """runtime 39, 40, 100"""
    with server_with_models(models, OLLAMA_DEBUG="1") as server, Client(server.base) as client:
        client.load("m")
        [runner] = [model["pid"] for model in client.status()["models"]]
        assert "inference compute id=" in server.log
        assert re.search(r"vram-based default context .*default_num_ctx=\d+", server.log)
        assert f"[{runner}] " in server.log


def test_a_model_folder_that_cannot_be_made_is_named_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("no folder")
    environ = {**os.environ, "HOME": str(tmp_path), "OLLAMA_HOST": "127.0.0.1:0"}
    done = subprocess.run(
        [sys.executable, "-m", "server.cli.main", "serve", "--models-dir", str(tmp_path / "file" / "models")],
        capture_output=True, text=True, env=environ, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert str(tmp_path / "file" / "models") in errors[0]


def test_a_bad_setting_stops_the_start_with_its_name(tmp_path: pathlib.Path) -> None:
    environ = {**os.environ, "HOME": str(tmp_path), "OLLAMA_NUM_PARALLEL": "many"}
    done = subprocess.run(
        [sys.executable, "-m", "server.cli.main", "serve"], capture_output=True, text=True, env=environ, timeout=60
    )
    assert done.returncode == 1
    assert "OLLAMA_NUM_PARALLEL" in done.stderr
    assert "many" in done.stderr


class States:
    """What a BackgroundServer became, and a way to wait for it."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.seen: list[str] = []
        self.server: BackgroundServer

    def changed(self) -> None:
        with self._condition:
            self.seen.append(self.server.state)
            self._condition.notify_all()

    def wait_for(self, state: str) -> None:
        with self._condition:
            assert self._condition.wait_for(lambda: state in self.seen, WAIT_SECONDS), self.seen


@pytest.fixture
def states(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[States]:
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):  # the server runs in this process
        monkeypatch.setenv(name, str(tmp_path / name))
    states = States()
    states.server = BackgroundServer(Settings(port=0, models_dir=tmp_path / "models"), states.changed)
    yield states
    states.server.stop()
    assert states.server.join()


def test_the_server_in_a_thread_starts_answers_and_stops(states: States) -> None:
    states.server.start()
    states.wait_for("ready")
    with Client(states.server.url) as client:
        assert client.version()["puna"]
        assert client.status()["state"] == "ready"
    states.server.stop()
    assert states.server.join()
    assert states.seen == ["starting", "ready", "stopping", "stopped"]


def test_an_open_event_stream_does_not_hold_up_the_stop(states: States) -> None:
    states.server.start()
    states.wait_for("ready")
    with Client(states.server.url) as client, client.events() as events:
        reading = iter(events)
        next(reading)
        states.server.stop()
        assert states.server.join()
        for _ in reading:
            pass


def test_a_stop_before_it_is_ready_is_heard(states: States) -> None:
    states.server.start()
    states.server.stop()
    assert states.server.join()
    assert states.server.state == "stopped"


def test_a_taken_port_is_a_state_with_its_reason(tmp_path: pathlib.Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        states = States()
        settings = Settings(port=other.getsockname()[1], models_dir=tmp_path / "models")
        states.server = BackgroundServer(settings, states.changed)
        states.server.start()
        states.wait_for("failed")
        assert states.server.join()
    assert isinstance(states.server.error, PortTaken)
    assert not (tmp_path / "models").exists()


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(Exception, match=r"cannot listen on 192\.0\.2\.1:18434"):
        listen("192.0.2.1", 18434)
