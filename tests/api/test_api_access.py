"""CORS and the Host guard on the wire (native-api 35-57), and routes of our own."""

from __future__ import annotations

import pytest

from server.api.access import RefusedOrigins
from tests.api.conftest import Connect, Server, Start

pytestmark = pytest.mark.anyio


async def test_preflight(server: Server) -> None:
    """native-api 35-37, runtime 31"""
    for path in ("/api/chat", "/nope"):
        answer = await server.client.options(path, headers={"origin": "http://localhost:3000"})
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert answer.headers["access-control-allow-methods"] == "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
        assert answer.headers["access-control-max-age"] == "43200"
        assert answer.headers.get_list("vary") == [
            "Origin",
            "Access-Control-Request-Method",
            "Access-Control-Request-Headers",
        ]
        allowed = answer.headers["access-control-allow-headers"].split(",")
        assert {"Authorization", "Content-Type", "X-Requested-With", "X-Stainless-Lang"} <= set(allowed)
        assert "access-control-allow-credentials" not in answer.headers


async def test_an_allowed_origin(server: Server) -> None:
    """native-api 38, 41, 46, runtime 22"""
    for path, status in (("/api/version", 200), ("/nope", 404)):
        answer = await server.client.get(path, headers={"origin": "http://localhost:1234"})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "http://localhost:1234"
        assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "chrome-extension://abc"])
async def test_a_stranger_is_refused(server: Server, method: str, origin: str) -> None:
    """native-api 39, 40, 42, runtime 23"""
    answer = await server.client.request(method, "/api/chat", headers={"origin": origin})
    assert (answer.status_code, answer.content) == (403, b"")
    assert "access-control-allow-origin" not in answer.headers
    assert "content-type" not in answer.headers
    assert server.inference.asked == []


async def test_a_configured_origin(start: Start) -> None:
    """native-api 42, runtime 27"""
    server = start(origins=("chrome-extension://*", "http://192.168.1.0/24"))
    for origin in ("chrome-extension://abc", "http://192.168.1.9:8080"):
        answer = await server.client.get("/api/version", headers={"origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "192.168.1.5", "::", ""])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_patterns_and_networks_count_on_every_bind_and_method(start: Start, host: str, method: str) -> None:
    """runtime 25"""
    server = start(host=host, origins=("https://*.lab.example", "10.1.0.0/16", "http://192.168.1.1:*"))
    for origin, is_allowed in {
        "https://a.lab.example": True,
        "https://lab.example.evil": False,
        "https://10.1.200.7:8443": True,
        "http://10.2.0.1": False,
        "http://192.168.1.1:3000": True,
        "http://192.168.1.2:3000": False,
    }.items():
        headers = {"origin": origin, "host": "127.0.0.1:11434"}
        for path in ("/api/tags", "/v1/models", "/nope"):
            answer = await server.client.request(method, path, headers=headers)
            assert (answer.status_code != 403) is is_allowed, (origin, path)
            assert answer.headers.get("access-control-allow-origin") == (origin if is_allowed else None)


async def test_the_same_origin_gets_no_cors_headers(server: Server) -> None:
    """native-api 43"""
    answer = await server.client.get("/api/version", headers={"origin": "http://127.0.0.1:11434"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert "vary" not in answer.headers


async def test_a_star_allows_every_origin_but_not_every_host(start: Start) -> None:
    """native-api 45, runtime 24"""
    server = start(origins=("*",))
    answer = await server.client.get("/api/version", headers={"origin": "null"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "vary" not in answer.headers
    answer = await server.client.options("/api/chat", headers={"origin": "https://evil.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert "vary" not in answer.headers
    assert (await server.client.get("/api/version", headers={"host": "evil.example"})).status_code == 403


async def test_an_empty_origin_is_none(server: Server) -> None:
    answer = await server.client.get("/api/version", headers={"origin": ""})
    assert answer.status_code == 200
    assert "vary" not in answer.headers


@pytest.mark.parametrize("path", ["/api/tags", "/nope"])
async def test_a_strange_host(server: Server, path: str) -> None:
    """native-api 47, runtime 28"""
    answer = await server.client.get(path, headers={"host": "evil.example"})
    assert (answer.status_code, answer.content) == (403, b"")


async def test_options_without_origin(server: Server) -> None:
    """native-api 55, 56"""
    answer = await server.client.options("/api/chat", headers={"host": "localhost"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await server.client.options("/api/chat", headers={"host": "127.0.0.1"})).status_code == 405


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", ""])
async def test_beyond_loopback_every_host_passes_but_not_every_origin(start: Start, host: str) -> None:
    """native-api 57, runtime 30"""
    server = start(host=host)
    headers = {"host": "evil.example"}
    assert (await server.client.get("/api/tags", headers=headers)).status_code == 200
    answer = await server.client.get("/api/tags", headers={**headers, "origin": "http://other.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("origin", ["http://localhost:3000", "app://x", "null", "http://evil.example"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_our_own_routes_refuse_every_foreign_origin(start: Start, host: str, origin: str) -> None:
    server = start(host=host, origins=("*",))
    for method in ("GET", "OPTIONS"):
        answer = await server.client.request(method, "/puna/v1/status", headers={"origin": origin})
        assert answer.status_code == 403
    # A name that a stranger pointed at this machine makes his page "the same origin".
    headers = {"origin": "http://evil.example", "host": "evil.example"}
    assert (await server.client.get("/puna/v1/status", headers=headers)).status_code == 403


async def test_our_own_routes_answer_without_and_with_the_same_origin(server: Server) -> None:
    assert (await server.client.get("/puna/v1/status")).status_code == 200
    headers = {"origin": "http://127.0.0.1:11434"}
    assert (await server.client.get("/puna/v1/status", headers=headers)).status_code == 200


async def test_refused_origins_are_remembered(server: Server) -> None:
    for path in ("/api/tags", "/api/chat"):
        await server.client.get(path, headers={"origin": "chrome-extension://abc"})
    entry = server.services.refused_origins.entries()[0]
    assert (entry.origin, entry.count, entry.path) == ("chrome-extension://abc", 2, "/api/chat")


def test_the_memory_of_refused_origins_is_bounded() -> None:
    refused = RefusedOrigins()
    for number in range(200):
        refused.add(f"http://{number}.example/" + "x" * 1000, "/", now=float(number))
    entries = refused.entries()
    assert len(entries) == 64
    assert entries[-1].origin.startswith("http://199.example/")
    assert all(len(entry.origin) <= 256 for entry in entries)


@pytest.mark.parametrize(("size", "closes"), [(1000, False), (100_000, True)])
async def test_an_early_answer_reads_the_rest_of_the_upload(
    server: Server, connect: Connect, size: int, closes: bool
) -> None:
    """A small rest keeps the connection; a large one is read too, or the server and we wait for each other."""
    connection = connect(server, "/nope", b"")
    connection.pieces(*[b"x" * size] * 5)
    await connection.run()
    assert connection.sent[0]["status"] == 404
    assert ((b"connection", b"close") in connection.sent[0]["headers"]) is closes
    assert connection.unread == 0
