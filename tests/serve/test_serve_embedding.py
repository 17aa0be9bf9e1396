"""Vectors from a real server, and from the command line before it."""

from __future__ import annotations

import json
import math
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from server.client import Client
from server.errors import PunaError
from tests.golden.server import RunningServer
from tests.serve.installed import server_with_models

LONG = "long words " * 100
TOO_LONG = "the input length exceeds the context length"


@pytest.fixture(scope="module")
def embedder(models: pathlib.Path) -> Iterator[RunningServer]:
    with server_with_models(models, ("e", "embedding.gguf")) as running:
        yield running


@pytest.fixture
def ask(embedder: RunningServer) -> Iterator[Client]:
    with Client(embedder.base) as client:
        yield client


def embed(client: Client, text: Any, **more: Any) -> dict[str, Any]:
    return dict(client.embed({"model": "e", "input": text, **more}))


def refusal(client: Client, text: Any, **more: Any) -> tuple[int, str]:
    with pytest.raises(PunaError) as caught:
        embed(client, text, **more)
    return caught.value.status, str(caught.value)


def length(vector: list[float]) -> float:
    return math.sqrt(sum(number * number for number in vector))


def test_one_text_and_several(ask: Client) -> None:
    """native-api 214, 215"""
    one = embed(ask, "hi")
    assert set(one) == {"model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"}
    assert length(one["embeddings"][0]) == pytest.approx(1, abs=1e-5)
    texts = ["one", "three words here", ""]
    singly = [embed(ask, [text]) for text in texts]
    together = embed(ask, texts)
    assert together["prompt_eval_count"] == sum(answer["prompt_eval_count"] for answer in singly)
    for vector, answer in zip(together["embeddings"], singly, strict=True):
        assert vector == pytest.approx(answer["embeddings"][0], abs=1e-5)


def test_more_texts_than_a_runner_is_asked_for_at_once(ask: Client) -> None:
    texts = [str(number) for number in range(600)]
    answer = embed(ask, texts, dimensions=4)
    assert [len(vector) for vector in answer["embeddings"]] == [4] * 600
    assert answer["embeddings"][599] == pytest.approx(embed(ask, "599", dimensions=4)["embeddings"][0], abs=1e-5)


@pytest.mark.parametrize("dimensions", [8, 64, 0, -1, 1000])
def test_dimensions(ask: Client, dimensions: int) -> None:
    """native-api 216, 217"""
    [vector] = embed(ask, "hello", dimensions=dimensions)["embeddings"]
    assert len(vector) == (8 if dimensions == 8 else 64)
    assert length(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("nothing", [None, "", []])
def test_nothing_to_embed_loads_the_model(ask: Client, nothing: Any) -> None:
    """native-api 218"""
    assert embed(ask, nothing) == {"model": "e", "embeddings": []}
    assert ask.ps()[0]["name"] == "e:latest"


def test_long_texts(ask: Client) -> None:
    """native-api 221 to 223"""
    assert embed(ask, LONG)["prompt_eval_count"] <= 512
    assert refusal(ask, LONG, truncate=False) == (400, TOO_LONG)
    assert refusal(ask, ["short", LONG], truncate=False) == (400, TOO_LONG)


def test_small_contexts(ask: Client) -> None:
    """native-api 224 to 226; a batch smaller than the context cuts as well"""
    for tokens in (1, 2):
        found = refusal(ask, "several words", options={"num_ctx": tokens})
        assert found == (400, "input after truncation exceeds maximum context length")
    found = refusal(ask, "several words", options={"num_ctx": 0})
    assert found == (400, "input exceeds maximum context length and cannot be truncated further")
    assert len(embed(ask, "abc", options={"num_ctx": 0})["embeddings"]) == 1
    cut = embed(ask, "why is the sky blue?", options={"num_ctx": 3})
    assert cut["embeddings"] == embed(ask, "w")["embeddings"], "this model has a token for each letter"
    assert embed(ask, LONG, options={"num_batch": 16})["prompt_eval_count"] == 15
    assert refusal(ask, "x", options={"num_ctx": "x"}) == (400, 'option "num_ctx" must be of type integer')


def test_a_model_that_writes(ask: Client) -> None:
    """native-api 227"""
    assert ask.embed({"model": "bare", "input": []}) == {"model": "bare", "embeddings": []}
    status, sentence = refusal(ask, "hello", model="bare")
    assert status == 501
    assert "--embeddings" in sentence
    assert '"bare" does not support embeddings' in sentence


def test_the_older_call(ask: Client, embedder: RunningServer) -> None:
    """native-api 228 to 231"""
    import httpx2

    def call(**body: Any) -> tuple[int, Any]:
        response = httpx2.post(f"{embedder.base}/api/embeddings", json={"model": "e", **body}, trust_env=False)
        return response.status_code, response.json()

    status, answer = call(prompt="hi")
    assert (status, list(answer)) == (200, ["embedding"])
    assert answer["embedding"] == pytest.approx(embed(ask, "hi")["embeddings"][0], abs=1e-6)
    assert call() == (200, {"embedding": []})
    assert call(prompt=LONG) == (400, {"error": TOO_LONG})
    assert call(prompt="hi", model="E")[0] == 200
    assert call(prompt="hi", model="m")[0] == 501


def test_requests_side_by_side(ask: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: embed(ask, [str(number), "x"])["embeddings"][0], range(24)))
    for number, vector in enumerate(found):
        assert vector == pytest.approx(embed(ask, str(number))["embeddings"][0], abs=1e-5)


def test_keep_alive_of_zero_unloads_afterwards(ask: Client, embedder: RunningServer) -> None:
    assert len(embed(ask, "x", keep_alive=0)["embeddings"]) == 1
    with ask.events() as events:
        for event in events:  # other tests of this module may have loaded other models
            if all(model["name"].lower() != "e:latest" for model in event["models"]):
                break
    assert "e:latest" not in {model["name"].lower() for model in ask.ps()}


def test_from_the_command_line(ask: Client, embedder: RunningServer) -> None:
    """cli 56 to 58"""

    def run(*words: str, piped: str = "") -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "OLLAMA_HOST": embedder.base, "HOME": str(embedder.home)}
        command = [sys.executable, "-m", "server.cli.main", "run", *words]
        return subprocess.run(command, env=environ, input=piped, capture_output=True, text=True, timeout=120)

    done = run("e", "hello")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert json.loads(done.stdout) == pytest.approx(embed(ask, "hello")["embeddings"][0], abs=1e-6)
    assert len(json.loads(run("e", "--dimensions", "16", piped="hello").stdout)) == 16
    assert len(json.loads(run("e", LONG).stdout)) == 64
    refused = run("e", "--truncate=false", LONG)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"Error: {TOO_LONG}\n"
    assert "embedding models require input text" in run("e").stderr
