"""Who listens on a port."""

from __future__ import annotations

import os
import socket
import threading

import psutil

from server.client import Identity, identify
from tests.client.fake_server import Answer, FakeServer, ok


def test_puna(fake: FakeServer) -> None:
    found = identify("127.0.0.1", fake.port, with_owner=True)
    assert (found.kind, found.version, found.puna) == ("puna", "0.33.0", "0.1.0")
    assert found.owner.pid == os.getpid()
    assert found.owner.name == psutil.Process().name()


def test_ollama(fake: FakeServer) -> None:
    fake.routes[("GET", "/api/version")] = ok({"version": "0.12.0"})
    assert identify("0.0.0.0", fake.port) == Identity("ollama", "0.12.0")


def test_other_web_servers(fake: FakeServer) -> None:
    fake.routes[("GET", "/api/version")] = ok({"version": "1"})
    fake.routes[("GET", "/")] = lambda asked: Answer(body=b"hello")
    assert identify("127.0.0.1", fake.port).kind == "other"
    fake.routes[("GET", "/api/version")] = lambda asked: Answer(body=b"<html>")
    assert identify("127.0.0.1", fake.port).kind == "other"
    del fake.routes[("GET", "/api/version")]
    assert identify("127.0.0.1", fake.port).kind == "other"


def test_what_speaks_another_protocol() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        assert identify("127.0.0.1", listener.getsockname()[1]).kind == "other"
        thread.join()


def test_what_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert identify("127.0.0.1", listener.getsockname()[1], seconds=0.05).kind == "other"


def test_nobody() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert identify("127.0.0.1", taken.getsockname()[1]) == Identity("none")
