"""API keys on the wire: who comes in, what a key may do, and the routes of the keys themselves.

compat-api 7, 329, 345"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from starlette.routing import Match, Route

from server.api import gate
from server.api.app import ROUTES
from server.api.openapi import Handled
from server.api.scopes import _TABLE, scope_of
from server.api.wire_routes import COMPAT_ROUTES, Unlisted, _Cleaned
from server.secrets import SCOPES, Keys, Scope
from tests.api.conftest import TOKEN, Connect, Server, Start
from tests.secrets.keychains import KeychainInMemory

pytestmark = pytest.mark.anyio

PUBLIC = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/health"),
    ("HEAD", "/health"),
    ("GET", "/v1/health"),
    ("HEAD", "/v1/health"),
]
LISTED = [route for route in ROUTES if isinstance(route, Route) and isinstance(route.endpoint, Handled)]
Send = dict[str, str]


@pytest.fixture
def locked(start: Start) -> Server:
    """A server that requires keys."""
    return start(require_key=True)


def key_of(server: Server, scope: Scope) -> str:
    text: str = server.services.keys.add(scope, scope)[1]
    return text


def bearer(key: str) -> Send:
    return {"authorization": f"Bearer {key}"}


def example(path: str) -> str:
    return re.sub(r"\{\w+(:path)?\}", "x", path)


def operations() -> Iterator[tuple[str, str]]:
    """Every method of every route, also those without `/v1`."""
    for route in ROUTES:
        endpoint = route.endpoint._endpoint if isinstance(route.endpoint, Unlisted) else route.endpoint
        if isinstance(endpoint, Handled):
            yield from ((method, route.path) for method in endpoint.handlers)


# ---- the table -----------------------------------------------------------------------------------------------------


def test_no_route_lacks_a_scope_and_no_row_lacks_a_route() -> None:
    paths = {route.path for route in LISTED} | {"/v1", "/v1/{rest:path}"}
    assert {route.path for route in ROUTES if isinstance(route.endpoint, _Cleaned)} == {"/v1", "/v1/{rest:path}"}
    for route in LISTED:
        for method in route.endpoint.handlers:
            assert scope_of(route.path, method) in SCOPES, f"server/api/scopes.py says nothing of {method} {route.path}"
    assert set(_TABLE) == paths


@pytest.mark.parametrize(("method", "path"), sorted(operations()))
async def test_every_route_asks_for_its_scope(locked: Server, method: str, path: str) -> None:
    """Without a key 401; with each scope 403 where it is too low. Whether a request that came in makes sense is not
    asked here: an empty body does not, mostly."""
    listed = path if scope_of(path, method) else f"/v1{path}"
    needed = scope_of(listed, method)
    assert needed
    is_public = (method, path) in PUBLIC
    for held in SCOPES:
        key = key_of(locked, held)
        if SCOPES.index(held) < SCOPES.index(needed):
            answer = await locked.client.request(method, example(path), headers=bearer(key))
            assert answer.status_code == 403, held
            if method != "HEAD":
                assert f'needs \\"{needed}\\"' in answer.text
    answer = await locked.client.request(method, example(path))
    assert (answer.status_code == 401) is not is_public
    if is_public:
        assert answer.status_code == 200


@pytest.mark.parametrize("held", SCOPES)
@pytest.mark.parametrize(
    ("method", "path", "body", "needed", "inside"),
    [
        ("GET", "/api/tags", None, "use", 200),
        ("POST", "/api/show", {"model": "nobody"}, "use", 404),
        ("POST", "/api/chat", {"model": "m", "messages": [{"role": "user", "content": "x"}]}, "use", 200),
        ("GET", "/v1/models", None, "use", 200),
        ("GET", "/models", None, "use", 200),
        ("GET", "/v1//models/", None, "use", 200),
        ("GET", "/puna/v1/status", None, "use", 200),
        ("POST", "/api/copy", {"source": "nobody", "destination": "b"}, "manage", 404),
        ("DELETE", "/api/delete", {"model": "nobody"}, "manage", 404),
        ("DELETE", "/v1/models/nobody", None, "manage", 404),
        ("DELETE", "/models/nobody", None, "manage", 404),
        ("DELETE", "/v1//models/nobody/", None, "manage", 404),
        ("POST", "/puna/v1/import", {}, "manage", 400),
        ("GET", "/puna/v1/keys", None, "admin", 200),
        ("POST", "/puna/v1/keys", {"name": "/"}, "admin", 400),
        ("DELETE", "/puna/v1/keys/nobody", None, "admin", 404),
    ],
)
async def test_a_scope_lets_in_what_it_includes(
    locked: Server, held: Scope, method: str, path: str, body: Any, needed: Scope, inside: int
) -> None:
    answer = await locked.client.request(method, path, json=body, headers=bearer(key_of(locked, held)))
    may = SCOPES.index(held) >= SCOPES.index(needed)
    assert answer.status_code == (inside if may else 403), answer.text


# ---- who comes in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/api/tags", "/v1/models", "/v1/messages", "/nope", "/v1/nope", "//api/tags", "/api/tags/"]
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer nonsense"},
        {"authorization": "Basic bm9uc2Vuc2U="},
        {"x-api-key": "nonsense"},
        {"x-api-key": "\u00e9" * 10},
        {"authorization": "Bearer " + "x" * 4000},
    ],
)
async def test_a_missing_or_wrong_key_is_refused(locked: Server, path: str, headers: Send) -> None:
    """Also where there is nothing: a stranger learns no path."""
    key_of(locked, "admin")
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = await locked.client.get(path, headers=encoded)
    assert answer.status_code == 401
    assert "Invalid API Key" in answer.text
    assert answer.headers["www-authenticate"] == 'Bearer realm="Puna"'
    assert locked.inference.asked == []


@pytest.mark.parametrize("path", ["/api/tags", "/v1/models", "/v1/messages/count_tokens"])
async def test_a_key_comes_in_four_ways(locked: Server, path: str) -> None:
    key = key_of(locked, "use")
    ways: tuple[Send, ...] = (
        bearer(key),
        {"authorization": f"bearer  {key} "},
        {"authorization": key},
        {"x-api-key": key},
        {"x-api-key": key, "authorization": "Basic for-a-proxy"},
    )
    for headers in ways:
        assert (await locked.client.get(path, headers=headers)).status_code in (200, 405)
    for other in (key[:-1], key + "x", key.upper()):
        assert (await locked.client.get(path, headers=bearer(other))).status_code == 401


async def test_refusals_have_the_shape_of_their_dialect(locked: Server) -> None:
    """compat-api 345"""
    body: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    native = await locked.post("/api/chat", body)
    assert native.json() == {"error": "Invalid API Key"}
    for path in ("/v1/chat/completions", "/chat/completions", "/v1/models", "/v1/nope"):
        answer = await locked.post(path, body)
        error = {"message": "Invalid API Key", "type": "authentication_error", "param": None, "code": None}
        assert (answer.status_code, answer.json()) == (401, {"error": error})
        assert answer.headers["x-request-id"].startswith("req_")
    for path, headers in (("/v1/messages", {}), ("/messages", {}), ("/v1/models", {"anthropic-version": "2023-06-01"})):
        answer = await locked.post(path, body, headers=headers)
        told = answer.json()
        assert answer.status_code == 401
        assert told["error"] == {"type": "authentication_error", "message": "Invalid API Key"}
        assert told["type"] == "error"
        assert told["request_id"] == answer.headers["request-id"]
    key = key_of(locked, "use")
    assert (await locked.post("/v1/messages", body, headers={"x-api-key": key})).status_code == 200
    assert (await locked.post("/v1/chat/completions", body, headers=bearer(key))).status_code == 200


async def test_too_low_a_scope_has_the_shape_of_its_dialect(locked: Server) -> None:
    headers = bearer(key_of(locked, "use"))
    native = await locked.client.request("DELETE", "/api/delete", json={"model": "m"}, headers=headers)
    assert native.status_code == 403
    assert list(native.json()) == ["error"]
    openai = await locked.client.delete("/v1/models/m", headers=headers)
    assert (openai.status_code, openai.json()["error"]["type"]) == (403, "permission_error")
    anthropic = await locked.client.delete("/v1/models/m", headers={**headers, "anthropic-version": "2023-06-01"})
    assert anthropic.json()["error"]["type"] == "permission_error"
    assert anthropic.json()["type"] == "error"


async def test_health_and_the_front_page_answer_without_a_key(locked: Server) -> None:
    """compat-api 329: also with keys on and no key sent"""
    for path in ("/health", "/v1/health"):
        answer = await locked.client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert (await locked.client.head(path)).status_code == 200
    assert (await locked.client.get("/")).text == "Ollama is running"
    assert (await locked.client.head("/")).status_code == 200
    for method, path in (("POST", "/health"), ("POST", "/"), ("GET", "/health/x"), ("GET", "/v1//health")):
        assert (await locked.client.request(method, path)).status_code == 401, path


async def test_a_preflight_needs_no_key_and_its_request_does(locked: Server) -> None:
    """A browser sends none with it; and an answer that refuses can be read by the page."""
    origin = {"origin": "http://localhost:3000"}
    for path in ("/api/chat", "/v1/chat/completions"):
        assert (await locked.client.options(path, headers=origin)).status_code == 204
        answer = await locked.client.get(path, headers=origin)
        assert answer.status_code == 401
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert (await locked.client.options("/api/chat", headers={"host": "127.0.0.1"})).status_code == 401


async def test_origin_and_host_come_before_the_key(locked: Server) -> None:
    headers = bearer(key_of(locked, "admin"))
    for more in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
        answer = await locked.client.get("/api/tags", headers={**headers, **more})
        assert (answer.status_code, answer.content) == (403, b"")


async def test_switched_off_every_key_is_ignored(server: Server) -> None:
    """compat-api 7"""
    body: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    key = key_of(server, "use")
    for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
        for headers in ({}, bearer("nonsense"), {"x-api-key": "nonsense"}, bearer(key)):
            assert (await server.post(path, body, headers=headers)).status_code == 200
    answer = await server.client.request("DELETE", "/api/delete", json={"model": "nobody"}, headers=bearer(key))
    assert answer.status_code == 404  # a low scope is ignored too


async def test_the_token_of_this_user_may_do_everything(locked: Server) -> None:
    assert (await locked.client.get("/puna/v1/keys", headers=bearer(TOKEN))).status_code == 200
    for wrong in (TOKEN[:-1], TOKEN + "x", ""):
        assert (await locked.client.get("/puna/v1/keys", headers=bearer(wrong))).status_code == 401


async def test_without_a_token_an_empty_one_is_none(locked: Server) -> None:
    closed = gate.Gate(locked.services.keys, token="", is_required=True, compat_routes=COMPAT_ROUTES)
    scope = {"type": "http", "method": "GET", "path": "/api/tags", "headers": [(b"authorization", b"Bearer ")]}
    assert await closed.refusal(scope) is not None


async def test_tokens_are_compared_in_constant_time(locked: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(gate.hmac, "compare_digest", lambda *both: compared.append(both) or False)
    await locked.client.get("/api/tags", headers=bearer(TOKEN))
    assert (TOKEN.encode(), TOKEN.encode()) in compared


async def test_a_refused_upload_is_read_to_its_end(locked: Server, connect: Connect) -> None:
    connection = connect(locked, "/api/blobs/sha256:0", b"")
    connection.pieces(*[b"x" * 100_000] * 5)
    await connection.run()
    assert connection.sent[0]["status"] == 401
    assert connection.unread == 0


async def test_keys_that_cannot_be_read_are_told_and_nobody_comes_in(locked: Server) -> None:
    key = key_of(locked, "use")
    locked.services.keys._path.write_text("nonsense")
    for path, headers in (("/api/tags", bearer(key)), ("/v1/models", {"x-api-key": key})):
        answer = await locked.client.get(path, headers=headers)
        assert answer.status_code == 503
        assert "the file of API keys could not be read" in answer.text
    # Who needs no file still comes in, to see what is wrong.
    assert (await locked.client.get("/api/tags", headers=bearer(TOKEN))).status_code == 200


async def test_a_keychain_that_waits_for_its_user_holds_up_only_those_who_need_it(locked: Server) -> None:
    """Not even a crowd with wrong keys takes the threads that all others need."""
    asked, answered = threading.Event(), threading.Event()

    class Waiting(KeychainInMemory):
        def look_up(self, name: str) -> str | None:
            asked.set()
            assert answered.wait(20)
            return super().look_up(name)

    keychain = Waiting()
    _, kept = Keys(locked.services.keys._path, keychain).add("a", "use")
    locked.services.keys._keychain = keychain
    statuses: list[int] = []

    async def send(key: str) -> None:
        statuses.append((await locked.client.get("/api/tags", headers=bearer(key))).status_code)

    async with anyio.create_task_group() as tasks:
        for key in (kept, *["nonsense"] * 60):
            tasks.start_soon(send, key)
        await anyio.to_thread.run_sync(asked.wait)
        with anyio.fail_after(10):
            answer = await locked.client.get("/puna/v1/keys", headers=bearer(TOKEN))
        assert answer.status_code == 200
        assert statuses == []
        answered.set()
    assert sorted(statuses) == [200] + [401] * 60


# ---- /puna/v1/keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("require_key", [True, False])
async def test_the_life_of_a_key(start: Start, require_key: bool) -> None:
    server = start(require_key=require_key)
    admin = bearer(TOKEN)
    answer = await server.post("/puna/v1/keys", {"name": "my laptop", "scope": "manage"}, headers=admin)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert list(made) == ["name", "scope", "created_at", "last_used_at", "key", "required"]
    assert (made["name"], made["scope"], made["last_used_at"]) == ("my laptop", "manage", None)
    assert made["required"] is require_key
    assert (await server.client.get("/api/tags", headers=bearer(made["key"]))).status_code == 200
    told = (await server.client.get("/puna/v1/keys", headers=admin)).json()
    assert told["required"] is require_key
    [kept] = told["keys"]
    assert set(kept) == {"name", "scope", "created_at", "last_used_at"}  # neither key nor hash
    assert (kept["last_used_at"] is not None) is require_key
    if require_key:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00:00Z", kept["last_used_at"])
    answer = await server.client.delete("/puna/v1/keys/my%20laptop", headers=admin)
    assert (answer.status_code, answer.json()) == (200, {"required": require_key})
    refused = 401 if require_key else 200
    assert (await server.client.get("/api/tags", headers=bearer(made["key"]))).status_code == refused


async def test_the_scope_of_a_key_is_use_unless_more_is_asked_for(locked: Server) -> None:
    assert (await locked.post("/puna/v1/keys", {"name": "a"}, headers=bearer(TOKEN))).json()["scope"] == "use"


async def test_mistakes_are_told_in_sentences(locked: Server) -> None:
    admin = bearer(TOKEN)
    assert (await locked.post("/puna/v1/keys", {"name": "a"}, headers=admin)).status_code == 200
    for body, status, words in (
        ({"name": "a"}, 409, 'there is an API key "a" already'),
        ({"name": "b", "scope": "root"}, 400, 'there is no scope "root"'),
        ({}, 400, "cannot name an API key"),
        ({"name": 1}, 400, "cannot unmarshal number"),
    ):
        answer = await locked.post("/puna/v1/keys", body, headers=admin)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True)
    answer = await locked.client.delete("/puna/v1/keys/b", headers=admin)
    assert (answer.status_code, "no API key" in answer.json()["error"]) == (404, True)


async def test_keys_cannot_be_planted_while_they_are_not_required(server: Server) -> None:
    """Or whoever reached the server before its owner asked for keys would still be in afterwards."""
    low, manage = key_of(server, "use"), key_of(server, "manage")
    for method, path in (("GET", "/puna/v1/keys"), ("POST", "/puna/v1/keys"), ("DELETE", "/puna/v1/keys/use")):
        for headers, status in (({}, 401), (bearer("x"), 401), (bearer(low), 403), (bearer(manage), 403)):
            answer = await server.client.request(method, path, json={"name": "x"}, headers=headers)
            assert answer.status_code == status
    assert [key.name for key in server.services.keys.list()] == ["use", "manage"]


def test_every_path_of_the_keys_is_behind_the_gate() -> None:
    """What the gate knows by its beginning is all that leads to these routes."""
    paths = [route.path for route in LISTED if scope_of(route.path, "GET") == "admin" and "/puna/" in route.path]
    assert paths == ["/puna/v1/keys", "/puna/v1/keys/{name:path}"]
    for path in ("/puna/v1//keys", "/puna/v1/Keys", "/puna/v1/./keys", "/puna/v1/key"):
        scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        assert not [route for route in LISTED if route.matches(scope)[0] is not Match.NONE]


async def test_nothing_of_a_key_is_logged(locked: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    key = (await locked.post("/puna/v1/keys", {"name": "a"}, headers=bearer(TOKEN))).json()["key"]
    await locked.client.get("/api/tags", headers=bearer(key))
    await locked.client.get("/api/tags", headers={"x-api-key": key + "x"})
    await locked.client.get(f"/api/tags?key={key}", headers=bearer(key))
    await locked.client.delete("/puna/v1/keys/a", headers=bearer(key))
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("server.")]
    assert len(ours) >= 5
    assert not [line for line in ours if key in line or TOKEN in line]


async def test_the_scripts_of_kept_requests_take_their_key_from_the_environment(
    start: Start, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = start(require_key=True, log_requests=True)
    key = key_of(server, "use")
    await server.post("/api/chat", {"model": "m", "messages": []}, headers=bearer(key))
    folder = server.app.state.dumps.folder
    [script] = folder.glob("*_request.sh")
    assert '--header "Authorization: Bearer $OLLAMA_API_KEY"' in script.read_text()
    assert not [file for file in folder.iterdir() if key in file.read_text()]


async def test_the_document_of_routes_has_them(locked: Server) -> None:
    answer = await locked.client.get("/openapi.json", headers=bearer(key_of(locked, "use")))
    paths = json.loads(answer.content)["paths"]
    assert set(paths["/puna/v1/keys"]) == {"get", "post"}
    assert isinstance(locked.client, httpx2.AsyncClient)
