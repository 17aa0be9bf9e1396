"""Requests that Schemathesis makes of the server's own description of itself: every one gets an answer, soon, and none
breaks the server (any of compat-api and native-api). What it cannot know is told here: which models there are, and
which values make a model load again."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode

from tests.golden.server import RunningServer
from tests.serve.installed import server_with_models

ANSWER_SECONDS = 30.0  # longer is a hang
HONEST_FAILURES = {501, 503, 507}  # not built, busy, no room
EXAMPLES = {GenerationMode.POSITIVE: 12, GenerationMode.NEGATIVE: 5}  # per operation
MODELS = st.sampled_from(["m", "m", "m", "e", "bare", "nobody", "m:cloud"])
# They leave this machine, change what is installed, or have no end; test_serve_fuzz sends to most of them.
LEFT_OUT = ("/puna/", "/api/pull", "/api/push", "/api/create", "/api/delete", "/api/blobs", "/api/import")
NOT_MODELS = {
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "use_mmap",
    "draft_num_predict",
    "keep_alive",
}
SHORT = {"max_tokens": 6, "max_output_tokens": 6, "max_completion_tokens": 6, "n_predict": 6}


@pytest.fixture(scope="module")
def described(models: pathlib.Path) -> Iterator[RunningServer]:
    with server_with_models(models, ("e", "embedding.gguf")) as running:
        yield running


def _operations(server: RunningServer) -> list[APIOperation[Any, Any, Any, Any]]:
    document = httpx2.get(f"{server.base}/openapi.json", trust_env=False).json()
    found = [result.ok() for result in schemathesis.openapi.from_dict(document).get_all_operations()]
    return [one for one in found if not one.path.startswith(LEFT_OUT) and one.path != "/v1/models/{name}"]


def _tame(case: Case, model: str) -> None:
    """A body that means something: for a model that is there, with a short answer."""
    if not isinstance(case.body, dict):
        return
    body = {name: value for name, value in case.body.items() if name not in NOT_MODELS}
    if "model" in body:
        body["model"] = model
    for name, limit in SHORT.items():
        if isinstance(body.get(name), int) and name in body:
            body[name] = min(body[name], limit)
    if isinstance(body.get("options"), dict) or case.path.startswith("/api/"):
        body["options"] = {"num_predict": 6}
    elif "model" in body and "max_tokens" not in body:
        body["max_tokens"] = 6
    case.body = body


def _check(server: RunningServer, session: requests.Session, case: Case) -> int:
    began = time.monotonic()
    told = f"{case.method} {case.path} {str(case.body)[:2000]}"
    try:
        answer = case.call(base_url=server.base, session=session, timeout=ANSWER_SECONDS)
    except requests.RequestException as error:
        pytest.fail(f"{told} -> {error!r}; {server.process.poll()}\n{server.log[-3000:]}")
    told = f"{told} -> {answer.status_code} {answer.text[:500]}\n{server.log[-2000:]}"
    assert answer.status_code < 500 or answer.status_code in HONEST_FAILURES, told
    assert time.monotonic() - began < ANSWER_SECONDS, told
    return answer.status_code


@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", EXAMPLES, ids=lambda mode: mode.name)
def test_every_described_request_is_answered(described: RunningServer, mode: GenerationMode) -> None:
    operations = _operations(described)
    assert len([one for one in operations if one.path.startswith("/v1/")]) >= 12
    statuses: set[int] = set()
    with requests.Session() as session:
        session.trust_env = False
        for operation in operations:
            statuses |= _fuzz(described, session, operation, mode)
    assert (200 if mode is GenerationMode.POSITIVE else 400) in statuses
    assert httpx2.get(f"{described.base}/api/version", trust_env=False).status_code == 200


def _fuzz(
    server: RunningServer, session: requests.Session, operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode
) -> set[int]:
    """The statuses of the answers."""
    statuses: set[int] = set()
    if mode is GenerationMode.NEGATIVE and not operation.body:
        return statuses  # nothing about it can be wrong

    @settings(
        max_examples=EXAMPLES[mode],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode), MODELS)
    def check(case: Case, model: str) -> None:
        _tame(case, model)
        statuses.add(_check(server, session, case))

    check()
    return statuses
