"""Figures of the work, for dashboards (compat-api 342, 344)."""

from __future__ import annotations

import json
import pathlib
import re
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.golden.server import RunningServer
from tests.serve.installed import server_with_models
from tests.serve.test_serve_llama import post

SAMPLE = re.compile(r'^([a-z]+:[a-z_]+)(?:\{((?:[a-z]+="[^"]*",?)+)\})? (\S+)$')


@pytest.fixture(scope="module")
def http(models: pathlib.Path) -> Iterator[httpx2.Client]:
    with (
        server_with_models(models, PUNA_METRICS="1") as running,
        httpx2.Client(base_url=running.base, trust_env=False, timeout=60) as client,
    ):
        yield client


def samples(http: httpx2.Client) -> dict[tuple[str, str], float]:
    """By name and labels. Every line must be one that Prometheus reads."""
    answer = http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4"
    found = {}
    for line in answer.text.splitlines():
        if not line.startswith(("# HELP ", "# TYPE ")):
            match = SAMPLE.match(line)
            assert match, line
            found[match[1], match[2] or ""] = float(match[3])
    return found


def test_figures_grow_by_what_an_answer_took(http: httpx2.Client) -> None:
    """compat-api 342"""
    post(http, "/completion", model="m", prompt="Say SKY", n_predict=2)
    before = samples(http)
    timings = post(http, "/completion", model="m", prompt="Say something else, then COUNT", n_predict=3)["timings"]
    after = samples(http)

    def grown(name: str) -> float:
        key = name, 'model="m:latest"'
        return after[key] - before[key]

    assert grown("llamacpp:prompt_tokens_total") == timings["prompt_n"] > 0
    assert grown("llamacpp:prompt_tokens_cached_total") == timings["cache_n"] > 0
    assert grown("llamacpp:tokens_predicted_total") == timings["predicted_n"] == 3
    assert grown("llamacpp:prompt_seconds_total") == pytest.approx(timings["prompt_ms"] / 1000)
    assert grown("puna:answers_total") == grown("puna:first_token_seconds_count") == 1
    assert (
        after["puna:first_token_seconds_bucket", 'model="m:latest",le="+Inf"']
        == after["puna:answers_total", 'model="m:latest"']
    )
    assert after["puna:model_bytes", 'model="m:latest"'] > 1_000_000


def test_batches_are_counted(http: httpx2.Client) -> None:
    """compat-api 342: a runner says so shortly after the answer"""
    key = "llamacpp:n_decode_total", 'model="bare:latest"'
    http.post("/api/generate", json={"model": "bare", "keep_alive": 0})
    post(http, "/completion", model="bare", prompt="COUNT", n_predict=5)
    deadline = time.monotonic() + 30
    while samples(http).get(key, 0) < 5 and time.monotonic() < deadline:
        pass
    assert samples(http)[key] == 5, "the prompt, and each token but the last"


def test_what_is_counted_once(http: httpx2.Client) -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "SKY"}], "stream": False}
    key = "puna:answers_total", 'model="m:latest"'
    before = samples(http).get(key, 0)
    http.post("/api/chat", json=chat)
    http.post("/v1/chat/completions", json=chat)
    http.post("/v1/chat/completions/input_tokens", json=chat)
    assert samples(http)[key] - before == 2


def test_a_slot_while_it_writes(http: httpx2.Client) -> None:
    """compat-api 344"""
    asked = {"model": "bare", "prompt": "a secret LOOP", "n_predict": 100_000, "num_ctx": 4096, "stream": True}
    with http.stream("POST", "/completion", json=asked) as answer:
        lines = answer.iter_lines()
        first = json.loads(next(lines).removeprefix("data: "))
        told = http.get("/slots", params={"model": "bare"})
        gone = http.get("/slots", params={"model": "bare", "fail_on_no_slot": 1})
    slots = told.json()
    assert [slot["is_processing"] for slot in slots] == [True, False, False, False]
    busy = slots[0]
    assert busy["n_ctx"] == 4096
    assert busy["n_prompt_tokens"] == first["tokens_evaluated"]
    assert busy["n_prompt_tokens_processed"] + busy["n_prompt_tokens_cache"] == busy["n_prompt_tokens"]
    [token] = busy["next_token"]
    assert token["n_decoded"] + token["n_remain"] == 100_000
    assert token["n_decoded"] > 0
    assert not {"secret", "LOOP", "again", "prompt"} & set(re.findall(r"[a-zA-Z_]+", told.text))
    assert gone.status_code == 200


def test_no_free_slot(http: httpx2.Client) -> None:
    assert http.get("/slots", params={"model": "nobody"}).status_code == 404
    http.post("/api/generate", json={"model": "bare", "keep_alive": 0})
    assert http.get("/slots", params={"model": "bare", "fail_on_no_slot": 1}).status_code == 503


def test_figures_are_off_unless_wanted(shared_server: RunningServer) -> None:
    """compat-api 342"""
    for path in ("/metrics", "/v1/metrics", "/slots"):
        answer = httpx2.get(shared_server.base + path, trust_env=False)
        assert answer.status_code == 404
        assert "PUNA_METRICS=1" in answer.json()["error"]["message"]
