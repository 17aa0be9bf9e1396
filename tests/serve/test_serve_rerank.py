"""Documents by how well they answer a question, by a real model (compat-api 334-337)."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterator

import httpx2
import pytest

from tests.serve.installed import server_with_models
from tests.serve.test_serve_llama import post, refusal

QUERY = "what is a panda"
DOCUMENTS = ["hi", "it is a bear", "the giant panda is a bear from china"]
# Worked out from the file's weights in float64, outside of llama.cpp: [CLS] question [SEP] document.
SCORES = [0.55962, 0.78048, 0.76411]
ASKED = {"model": "rank", "query": QUERY, "documents": DOCUMENTS}


@pytest.fixture(scope="module")
def http(models: pathlib.Path) -> Iterator[httpx2.Client]:
    with (
        server_with_models(models, ("rank", "rerank.gguf"), ("e", "embedding.gguf")) as running,
        httpx2.Client(base_url=running.base, trust_env=False, timeout=60) as client,
    ):
        yield client


def test_the_best_document_comes_first(http: httpx2.Client) -> None:
    """compat-api 334"""
    answer = post(http, "/rerank", **ASKED)
    results = answer["results"]
    scores = [result["relevance_score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    assert [result["index"] for result in results] == [1, 2, 0]
    assert scores == pytest.approx(sorted(SCORES, reverse=True), abs=3e-3)
    assert answer["data"] == results
    assert (answer["object"], answer["model"]) == ("list", "rank")
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == 3 * (1 + 4 + 1) + 1 + 4 + 8
    for result in results:  # a score is that of its own pair, whatever is computed beside it
        [alone] = post(http, "/v1/reranking", **{**ASKED, "documents": [DOCUMENTS[result["index"]]]})["results"]
        assert alone["relevance_score"] == pytest.approx(result["relevance_score"], abs=1e-4)
    other = post(http, "/rerank", **{**ASKED, "query": "what is blue"})["results"]
    assert {round(result["relevance_score"], 4) for result in other}.isdisjoint(round(score, 4) for score in scores)


def test_how_many_documents_and_their_texts(http: httpx2.Client) -> None:
    """compat-api 335"""
    best = post(http, "/rerank", **ASKED)["results"][0]
    for limit in ("top_n", "top_k"):
        assert post(http, "/rerank", **ASKED, **{limit: 1})["results"] == [best]
    objects = [{"text": text} for text in DOCUMENTS]
    [told] = post(http, "/rerank", **{**ASKED, "documents": objects}, top_n=1, return_documents=True)["results"]
    assert told == {**best, "document": {"text": DOCUMENTS[best["index"]]}}


def test_the_form_of_text_embeddings_inference(http: httpx2.Client) -> None:
    """compat-api 336"""
    asked = {"model": "rank", "query": QUERY, "texts": DOCUMENTS}
    named = [(result["index"], result["relevance_score"]) for result in post(http, "/rerank", **ASKED)["results"]]
    assert post(http, "/rerank", **asked) == [{"index": index, "score": score} for index, score in named]
    assert post(http, "/rerank", **asked, return_text=True)[0]["text"] == DOCUMENTS[named[0][0]]


def test_normalized_scores(http: httpx2.Client) -> None:
    raw = [result["relevance_score"] for result in post(http, "/rerank", **ASKED)["results"]]
    told = [result["relevance_score"] for result in post(http, "/rerank", **ASKED, normalize=True)["results"]]
    assert told == pytest.approx([1 / (1 + math.exp(-score)) for score in raw])


def test_a_document_that_is_too_long(http: httpx2.Client) -> None:
    long = {**ASKED, "documents": ["panda " * 500, "panda " * 600]}
    answer = post(http, "/rerank", **long)
    assert answer["usage"]["prompt_tokens"] == 2 * 128
    first, second = answer["results"]
    assert first["relevance_score"] == pytest.approx(second["relevance_score"], abs=1e-4)
    assert refusal(http, "/rerank", **long, truncate=False) == "the input length exceeds the context length"
    assert "context length" in refusal(http, "/rerank", **{**ASKED, "query": "panda " * 500})


def test_what_cannot_be_ranked(http: httpx2.Client) -> None:
    """compat-api 337"""
    assert refusal(http, "/rerank", model="rank", documents=DOCUMENTS) == '"query" must be provided'
    assert refusal(http, "/rerank", **{**ASKED, "query": 5}) == '"query" must be a string'
    for documents in ([], ["a", 5], "a"):
        words = refusal(http, "/rerank", **{**ASKED, "documents": documents})
        assert words == '"documents" must be a non-empty string array'
    for model in ("m", "e"):
        assert refusal(http, "/rerank", **{**ASKED, "model": model}) == f'model "{model}" does not support reranking'


def test_a_reranking_model_makes_no_vectors(http: httpx2.Client) -> None:
    words = '"rank" does not support embeddings'
    assert refusal(http, "/v1/embeddings", model="rank", input="hi") == words
    answer = http.post("/api/embed", json={"model": "rank", "input": "hi"})
    assert answer.status_code == 400
    assert "scores documents and makes no vectors" in answer.json()["error"]
