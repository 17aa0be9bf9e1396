"""Requests that nobody would write, made from the server's own description of itself: every one gets an answer, soon,
and none breaks the server.

Hypothesis over our own schemas does it: a tool such as Schemathesis would bring seven packages and a pytest plugin for
what is one strategy here, and would not know which values make a model load.
"""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.golden.server import RunningServer
from tests.schemas import ANYTHING, TEXTS, Schema, likely_values
from tests.serve.installed import server_with_models

ANSWER_SECONDS = 30.0  # longer is a hang
NO_REGISTRY = "pull model manifest: "  # whoever pulls without a network hears that, with Ollama's status
HONEST_FAILURES = {501, 503, 507}  # not built yet, busy, no room
EXAMPLES = 40  # per route, so that all of them take less than a minute
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
NAMES = st.sampled_from(["m", "bare", "m:latest", "M", "nobody", "", " ", "../../etc/passwd", "a/b/c/d/e", "m:cloud"])
# Each context length is a load of its own: few of them, and what a machine of this size can hold.
OPTIONS = st.fixed_dictionaries(
    {"num_predict": st.sampled_from([0, 1, 7, -2])},
    optional={
        "num_ctx": st.sampled_from([0, -1, 1, 16, 256]) | st.just(2**62),
        "temperature": st.floats() | st.just("hot"),
        "top_k": st.integers(),
        "top_p": st.floats(),
        "min_p": st.floats(-1, 2),
        "seed": st.integers(),
        "stop": st.lists(TEXTS, max_size=3) | TEXTS,
        "num_keep": st.integers(),
        "num_batch": st.sampled_from([0, -1, 1, 2**40]),
        "repeat_penalty": st.floats(),
        "repeat_last_n": st.integers(-2, 10**9),
        "num_gpu": st.integers(-2, 10**9),
        "main_gpu": st.integers(-2, 10**9),
        "num_thread": st.integers(-2, 10**9),
    },
)
KEEP_ALIVE = st.sampled_from([0, -1, 1, "5m", "0s", "soon", "1e400h", ""])


@pytest.fixture(scope="module")
def fuzzed_server(models: pathlib.Path) -> Iterator[RunningServer]:
    """A server of this module's own: requests here may delete its models and make others."""
    with server_with_models(models) as running:
        yield running


def _bodies(schema: Schema) -> st.SearchStrategy[Any]:
    """Bodies of a route: members of the right names, mostly with values that mean something."""
    known = {"model": NAMES, "name": NAMES, "options": OPTIONS, "keep_alive": KEEP_ALIVE, "messages": _messages()}
    members = {name: likely_values(inner) for name, inner in schema["properties"].items()}
    members |= {name: strategy for name, strategy in known.items() if name in members}
    rest = {name: strategy for name, strategy in members.items() if name not in ("model", "options")}
    always = {name: members[name] for name in ("model", "options") if name in members}
    return st.fixed_dictionaries(always, optional=rest)


def _messages() -> st.SearchStrategy[Any]:
    roles = st.sampled_from(["user", "assistant", "system", "tool", "nobody"])
    message = st.fixed_dictionaries({"role": roles, "content": TEXTS | st.sampled_from(["SKY", "TOOL", "THINK"])})
    return st.lists(message, max_size=3)


def _sendable(body: Any) -> bytes:
    """As JSON; what JSON has no words for is sent as Python writes it, which is a syntax error worth trying."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _check(server: RunningServer, client: httpx2.Client, method: str, path: str, content: bytes) -> None:
    began = time.monotonic()
    try:
        answer = client.request(method, path, content=content)
    except httpx2.TransportError as error:
        pytest.fail(f"{method} {path} {content[:2000]!r} -> {error!r}; {server.process.poll()}\n{server.log[-3000:]}")
    told = f"{method} {path} {content[:2000]!r} -> {answer.status_code} {answer.text[:500]}"
    is_honest = answer.status_code in HONEST_FAILURES or NO_REGISTRY in answer.text
    assert answer.status_code < 500 or is_honest, told
    assert time.monotonic() - began < ANSWER_SECONDS, told
    if answer.headers.get("content-type", "").startswith("application/json") and method != "HEAD":
        answer.json()


def _described(server: RunningServer) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{server.base}/openapi.json", trust_env=False).json()
    return found


def _routes(document: dict[str, Any]) -> list[tuple[str, str, Schema]]:
    found = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method == "parameters" or path == "/puna/v1/events":
                continue
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            found.append((method.upper(), path, document["components"]["schemas"].get(name, {})))
    return found


@pytest.mark.timeout(180)
def test_every_declared_body_is_answered(fuzzed_server: RunningServer) -> None:
    declared = [(method, path, schema) for method, path, schema in _routes(_described(fuzzed_server)) if schema]
    assert len(declared) >= 10
    with httpx2.Client(base_url=fuzzed_server.base, trust_env=False, timeout=ANSWER_SECONDS) as client:
        for method, path, schema in declared:
            _fuzz_bodies(fuzzed_server, client, method, path, schema)
        assert client.get("/api/version").status_code == 200


def _fuzz_bodies(fuzzed_server: RunningServer, client: httpx2.Client, method: str, path: str, schema: Schema) -> None:
    @FUZZ
    @given(_bodies(schema))
    def check(body: Any) -> None:
        _check(fuzzed_server, client, method, path, _sendable(body))

    check()


@pytest.mark.timeout(180)
def test_any_bytes_on_any_route_are_answered(fuzzed_server: RunningServer) -> None:
    routes = _routes(_described(fuzzed_server))
    contents = st.binary(max_size=50) | ANYTHING.map(_sendable)

    @settings(FUZZ, max_examples=10 * EXAMPLES)
    @given(st.sampled_from(routes), contents, st.sampled_from(["x", "sha256:0", "%00", "..", "a b", "é"]))
    def check(route: tuple[str, str, Schema], content: bytes, part: str) -> None:
        method, path, _ = route
        for name in ("digest", "key", "name", "id"):
            path = path.replace(f"{{{name}}}", part)
        _check(fuzzed_server, client, method, path, content)

    with httpx2.Client(base_url=fuzzed_server.base, trust_env=False, timeout=ANSWER_SECONDS) as client:
        check()
        assert client.get("/api/version").status_code == 200
