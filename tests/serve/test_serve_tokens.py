"""Tokens of a model, and what is said when a conversation did not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.golden.server import RunningServer

DROPPED, TRUNCATED = "X-Puna-Dropped-Messages", "X-Puna-Truncated-Tokens"
BOS = 1


@pytest.fixture
def http(shared_server: RunningServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=shared_server.base, trust_env=False, timeout=60) as client:
        yield client


def post(http: httpx2.Client, path: str, **body: Any) -> dict[str, Any]:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_text_becomes_tokens_and_a_text_again(http: httpx2.Client) -> None:
    """compat-api 330"""
    text = "The sky is blue <|user|>SKY 🦙"
    answer = post(http, "/api/tokenize", model="m", text=text)
    assert list(answer) == ["model", "tokens", "total_duration", "load_duration"]
    assert answer["model"] == "m"
    assert answer["total_duration"] >= answer["load_duration"] > 0
    back = post(http, "/api/detokenize", model="m", tokens=answer["tokens"])
    assert list(back) == ["model", "text", "total_duration", "load_duration"]
    assert back["text"] == text
    assert post(http, "/api/tokenize", model="m", content=text)["tokens"] == answer["tokens"]


def test_pieces_are_texts_or_bytes_and_together_the_text(http: httpx2.Client) -> None:
    """compat-api 331"""
    answer = post(http, "/api/tokenize", model="m", text="Hi 🦙", with_pieces=True)
    pieces = answer["pieces"]
    assert len(pieces) == len(answer["tokens"])
    assert [240] in pieces  # the first byte of the llama
    assert b"".join(bytes(piece) if isinstance(piece, list) else piece.encode() for piece in pieces).decode() == "Hi 🦙"


def test_special_tokens_are_added_when_asked(http: httpx2.Client) -> None:
    """compat-api 332"""
    bare = post(http, "/api/tokenize", model="m", text="SKY")["tokens"]
    assert post(http, "/api/tokenize", model="m", text="SKY", add_special=True)["tokens"] == [BOS, *bare]
    assert post(http, "/api/tokenize", model="m")["tokens"] == []
    assert post(http, "/api/detokenize", model="m")["text"] == ""


def test_the_model_stays_as_long_as_it_was_told_to(http: httpx2.Client) -> None:
    post(http, "/api/tokenize", model="m", text="x", keep_alive=-1, options={"num_ctx": 256})
    models = http.get("/api/ps").json()["models"]  # other tests of this module may have loaded others
    [running] = [model for model in models if model["name"] == "m:latest"]
    assert running["expires_at"].startswith("23")
    assert running["context_length"] == 256


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/api/tokenize", {"text": "x"}, 400, "model is required"),
        ("/api/tokenize", {"model": "nobody", "text": "x"}, 404, "model 'nobody' not found"),
        ("/api/tokenize", {"model": "m", "text": 1}, 400, "into Go struct field TokenizeRequest.text of type string"),
        ("/api/detokenize", {"model": "nobody", "tokens": [1]}, 404, "model 'nobody' not found"),
        ("/api/detokenize", {"model": "m", "tokens": [10**6]}, 400, "There is no token 1000000"),
        ("/api/detokenize", {"model": "m", "tokens": [-1]}, 400, "There is no token -1"),
        ("/api/detokenize", {"model": "m", "tokens": [2**40]}, 400, "There is no token"),
    ],
)
def test_what_cannot_be_done_is_said(
    http: httpx2.Client, path: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_dropped_messages_are_told(http: httpx2.Client, stream: bool) -> None:
    long = [{"role": "user", "content": "x" * 120}, {"role": "assistant", "content": "y" * 120}]
    body = {"model": "m", "stream": stream, "options": {"num_ctx": 128}}
    fits = http.post("/api/chat", json={**body, "messages": [{"role": "user", "content": "SKY"}]})
    assert DROPPED not in fits.headers
    answer = http.post("/api/chat", json={**body, "messages": [*long, {"role": "user", "content": "SKY"}]})
    assert answer.headers[DROPPED] == "2"
    assert TRUNCATED not in answer.headers
    objects = [json.loads(line) for line in answer.text.splitlines()]
    assert "".join(each["message"]["content"] for each in objects) == "The sky is blue because of Rayleigh scattering."


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("trigger", ["SKY", "EMPTY"])
def test_a_prompt_that_was_cut_is_told(http: httpx2.Client, stream: bool, trigger: str) -> None:
    """The reference keeps the head and the newest tokens; how many are missing is in the header."""
    body = {"model": "bare", "raw": True, "stream": stream, "options": {"num_ctx": 64}}
    fits = http.post("/api/generate", json={**body, "prompt": trigger})
    assert TRUNCATED not in fits.headers
    whole = 1 + len(post(http, "/api/tokenize", model="bare", text="x" * 200 + trigger)["tokens"])
    answer = http.post("/api/generate", json={**body, "prompt": "x" * 200 + trigger})
    last = json.loads(answer.text.splitlines()[-1])
    assert int(answer.headers[TRUNCATED]) == whole - last["prompt_eval_count"] > 100


def test_a_text_beyond_every_bound_costs_nobody_the_model(http: httpx2.Client, shared_server: RunningServer) -> None:
    """It used to end the runner, and with it everybody's answers."""
    endless = {"model": "bare", "prompt": "LOOP", "raw": True, "options": {"num_predict": 100_000}}
    with http.stream("POST", "/api/generate", json=endless) as answer:
        lines = answer.iter_lines()
        next(lines)
        for path, text in (("/api/tokenize", "text"), ("/api/generate", "prompt")):
            refused = http.post(path, json={"model": "bare", text: "x" * (65 << 20), "raw": True, "stream": False})
            assert refused.status_code == 400
            assert "64 MiB is the limit" in refused.json()["error"]
        next(lines)
