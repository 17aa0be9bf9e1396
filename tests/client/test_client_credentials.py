"""What lets our own programs in, and that it goes nowhere else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from server.client import Client, identify
from server.client.credentials import door, local_door
from server.errors import KeyWanted
from server.messages.local_server import LocalServer, file_name
from server.secrets import LocalToken
from server.settings import paths
from tests.client.fake_server import FakeServer, failing, ok, streaming

needs_unix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
    return paths.servers_dir()


def token_of(host: str, port: int) -> LocalToken:
    """A server of this user, as far as its file goes."""
    token = LocalToken(paths.servers_dir(), host, port)
    token.write()
    return token


def sent(url: str) -> str | None:
    return door(url).headers.get("Authorization")


# ---- where the token goes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "url", "reached"),
    [
        ("127.0.0.1", "http://127.0.0.1:18434", "http://127.0.0.1:18434"),
        ("127.0.0.1", "http://localhost:18434", "http://127.0.0.1:18434"),
        ("127.0.0.1", "http://my.localhost:18434/", "http://127.0.0.1:18434"),
        ("0.0.0.0", "http://127.0.0.1:18434", "http://127.0.0.1:18434"),
        ("0.0.0.0", "http://localhost:18434", "http://127.0.0.1:18434"),
        ("::1", "http://[::1]:18434", "http://[::1]:18434"),
        ("::1", "http://localhost:18434", "http://[::1]:18434"),
        ("::", "http://[::1]:18434", "http://[::1]:18434"),
        ("127.0.0.2", "http://127.0.0.2:18434", "http://127.0.0.2:18434"),
    ],
)
def test_the_token_goes_to_the_address_that_the_server_wrote(bound: str, url: str, reached: str) -> None:
    """A name goes to the address of the file: behind another address of the name another program may listen."""
    token = token_of(bound, 18434)
    found = door(url)
    assert found.headers == {"Authorization": f"Bearer {token.text}"}
    assert found.url == reached


@pytest.mark.parametrize(
    ("bound", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:18435"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("127.0.0.1", "https://127.0.0.1:18434"),
        ("127.0.0.1", "http://127.0.0.1:18434/behind/a/proxy"),
        ("127.0.0.1", "http://127.0.0.2:18434"),
        ("127.0.0.1", "http://[::1]:18434"),
        ("127.0.0.1", "http://example.com:18434"),
        ("127.0.0.1", "http://127.0.0.1.example.com:18434"),
        ("0.0.0.0", "http://192.0.2.7:18434"),
        ("0.0.0.0", "http://[::1]:18434"),
        ("192.0.2.7", "http://192.0.2.7:18434"),
        ("127.0.0.2", "http://localhost:18434"),
    ],
)
def test_the_token_goes_nowhere_else(bound: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even to an address that the server had, once another machine has it (192.0.2.7 is not this one's)."""
    token_of(bound, 18434)
    assert sent(url) is None
    monkeypatch.setenv("OLLAMA_API_KEY", "puna-key")
    assert sent(url) == "Bearer puna-key"
    assert door(url).url == url


def test_an_address_of_this_machine_in_the_network_is_this_machine() -> None:
    addresses = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family == socket.AF_INET and not entry.address.startswith("127.")
    ]
    for address in addresses:
        token = token_of("0.0.0.0", 18434)
        assert sent(f"http://{address}:18434") == f"Bearer {token.text}"


def test_a_file_under_another_name_than_its_content_counts_for_nothing(own_state: Path) -> None:
    token_of("127.0.0.1", 18434)
    (own_state / file_name("127.0.0.1", 18434)).rename(own_state / file_name("127.0.0.1", 18435))
    assert sent("http://127.0.0.1:18435") is None


@needs_unix
@pytest.mark.parametrize("how", ["link", "mode", "owner", "folder", "nonsense", "empty"])
def test_another_users_file_is_not_followed(own_state: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token_of("127.0.0.1", 18434)
    path = own_state / file_name("127.0.0.1", 18434)
    assert local_door("127.0.0.1", 18434) is not None
    if how == "link":
        path.rename(own_state / "elsewhere")
        path.symlink_to(own_state / "elsewhere")
    elif how == "mode":
        path.chmod(0o644)
    elif how == "owner":
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"{" if how == "nonsense" else b"")
    assert local_door("127.0.0.1", 18434) is None


def test_what_a_killed_server_left_does_not_stand_in_the_way_of_the_key(
    own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_of("127.0.0.1", 18434)
    path = own_state / file_name("127.0.0.1", 18434)
    server = msgspec.json.decode(path.read_bytes(), type=LocalServer)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(server, pid=ended.pid)))
    monkeypatch.setenv("OLLAMA_API_KEY", "puna-key")
    assert sent("http://127.0.0.1:18434") == "Bearer puna-key"


# ---- the file ------------------------------------------------------------------------------------------------------


@needs_unix
def test_the_file_of_a_token_is_for_this_user_alone_and_gone_at_the_end(own_state: Path) -> None:
    token = token_of("::1", 18434)
    path = own_state / file_name("::1", 18434)
    assert path.stat().st_mode & 0o777 == 0o600
    assert own_state.stat().st_mode & 0o777 == 0o700
    assert list(own_state.iterdir()) == [path]
    token.remove()
    assert list(own_state.iterdir()) == []
    token.remove()


@needs_unix
def test_a_link_in_its_place_is_replaced_and_not_written_through(own_state: Path, tmp_path: Path) -> None:
    own_state.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = own_state / file_name("127.0.0.1", 18434)
    path.symlink_to(victim)
    token_of("127.0.0.1", 18434)
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert local_door("127.0.0.1", 18434) is not None


def test_a_server_that_ends_leaves_the_file_of_its_successor(own_state: Path) -> None:
    first, second = token_of("127.0.0.1", 18434), token_of("127.0.0.1", 18434)
    first.remove()
    assert sent("http://127.0.0.1:18434") == f"Bearer {second.text}"


def test_a_folder_that_takes_no_file_costs_a_warning(own_state: Path, caplog: pytest.LogCaptureFixture) -> None:
    own_state.parent.mkdir(parents=True)
    own_state.write_text("no folder")
    token = token_of("127.0.0.1", 18434)
    assert "need an API key" in caplog.text
    assert token.text not in caplog.text
    token.remove()
    assert own_state.read_text() == "no folder"


# ---- on the wire ---------------------------------------------------------------------------------------------------


def test_every_request_and_every_stream_brings_it(fake: FakeServer) -> None:
    fake.routes[("GET", "/api/tags")] = ok({"models": []})
    fake.routes[("POST", "/api/pull")] = streaming({"status": "success"})
    with Client(fake.url) as client:
        client.tags()
        assert "Authorization" not in fake.asked[-1].headers
        token = token_of("127.0.0.1", fake.port)  # the server has been started again
        client.tags()
        assert fake.asked[-1].headers["Authorization"] == f"Bearer {token.text}"
        with client.pull("m") as lines:
            list(lines)
        assert fake.asked[-1].headers["Authorization"] == f"Bearer {token.text}"
    with Client(f"http://localhost:{fake.port}") as client:
        client.tags()
        assert fake.asked[-1].headers["Authorization"] == f"Bearer {token.text}"


@pytest.mark.parametrize("key", ["", "  ", "no\nheader", "\u00e9"])
def test_what_no_header_can_carry_is_not_sent(fake: FakeServer, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", key)
    fake.routes[("GET", "/api/tags")] = ok({"models": []})
    with Client(fake.url) as client:
        assert client.tags() == []
    assert "Authorization" not in fake.asked[-1].headers


def test_a_refusal_says_what_to_do(fake: FakeServer) -> None:
    fake.routes[("GET", "/api/tags")] = failing(401, "Invalid API Key")
    fake.routes[("POST", "/api/pull")] = failing(401, "Invalid API Key")
    with Client(fake.url) as client:
        for ask in (client.tags, lambda: list(client.pull("m"))):
            with pytest.raises(KeyWanted, match="OLLAMA_API_KEY"):
                ask()


def test_who_wants_a_key_is_still_known_for_puna(fake: FakeServer) -> None:
    """By the name in its answer; nobody is sent a key to find out who he is."""
    token_of("127.0.0.1", fake.port)
    fake.routes[("GET", "/api/version")] = failing(401, "Invalid API Key")
    fake.name = "puna/0.2.0"
    found = identify("127.0.0.1", fake.port)
    assert (found.kind, found.puna) == ("puna", "0.2.0")
    assert "Authorization" not in fake.asked[-1].headers
