"""The bytes of HTTP/1.1 itself, as clients send them that are no Python library (native-api 1.3, 1.9)."""

from __future__ import annotations

import json
import socket

import pytest

from tests.golden.server import RunningServer

ANSWER_SECONDS = 30.0
ASKED = json.dumps({"model": "bare", "prompt": "SKY", "raw": True}).encode()
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n"


def talk(server: RunningServer, sent: bytes) -> bytes:
    """Everything that comes back until the server closes; `sent` must make it do so."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_SECONDS) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def request(line: bytes, headers: bytes = b"", body: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return line + b" HTTP/1.1\r\nHost: localhost\r\n" + (headers or b"Connection: close\r\n") + length + b"\r\n" + body


@pytest.mark.parametrize(
    ("sent", "first_line"),
    [
        (request(b"GET /api/version"), b"HTTP/1.1 200 OK"),
        (request(b"GET /nope"), b"HTTP/1.1 404 Not Found"),
        (request(b"PUT /api/tags"), b"HTTP/1.1 405 Method Not Allowed"),
        (request(b"OPTIONS /api/chat"), b"HTTP/1.1 204 No Content"),
        (request(b"GET /api/../api/tags"), b"HTTP/1.1 307 Temporary Redirect"),
        (request(b"GET http://localhost/api/version"), b"HTTP/1.1 200 OK"),
        (b"GET /api/version HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /api/version HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
    ],
    ids=["ok", "path", "method", "options", "dots", "as to a proxy", "HTTP/1.0", "no host", "TLS"],
)
def test_the_first_line_has_its_phrase(shared_server: RunningServer, sent: bytes, first_line: bytes) -> None:
    assert talk(shared_server, sent).partition(b"\r\n")[0] == first_line


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
def test_offers_of_other_protocols_are_not_taken(shared_server: RunningServer, offer: bytes) -> None:
    """Java's HTTP client offers HTTP/2 with every request."""
    answer = talk(shared_server, request(b"GET /api/ps", offer.replace(b"Upgrade,", b"close, Upgrade,").replace(
        b"Connection: Upgrade\r", b"Connection: close, Upgrade\r")))  # fmt: skip
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'{"models":[' in answer


def test_an_old_client_gets_the_stream_without_chunks(shared_server: RunningServer) -> None:
    """native-api 115; what proxies in front of servers speak unless they are told otherwise."""
    head = b"POST /api/generate HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(ASKED)
    headers, _, body = talk(shared_server, head + ASKED).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in headers.lower()
    pieces = [json.loads(line) for line in body.splitlines()]
    assert "".join(piece["response"] for piece in pieces) == "The sky is blue because of Rayleigh scattering."
    assert pieces[-1]["done"]


def test_a_client_may_wait_before_it_sends_the_body(shared_server: RunningServer) -> None:
    headers = b"Connection: close\r\nExpect: 100-continue\r\n"
    answer = talk(shared_server, request(b"POST /api/generate", headers, ASKED))
    assert answer.startswith(b"HTTP/1.1 100 ")
    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in answer
