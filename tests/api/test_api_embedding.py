"""Both embedding routes, from the wire to the request and from the result to the wire."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from server.messages.embedding import EmbeddingRequest, EmbeddingResult
from tests.api.conftest import Server

pytestmark = pytest.mark.anyio

RESULT = EmbeddingResult(
    vectors=(struct.pack("<2f", 0.1, -0.5), struct.pack("<2f", 1e-7, 0)), prompt_tokens=7, total_ns=30, load_ns=20
)


@pytest.fixture
def made(server: Server) -> list[EmbeddingRequest]:
    """The requests that were made; each is answered with RESULT."""
    asked: list[EmbeddingRequest] = []

    class Maker:
        async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
            asked.append(request)
            return RESULT

    object.__setattr__(server.services, "inference", Maker())
    return asked


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ({"input": "hi"}, ("hi",)),
        ({"input": ["a", "", "b"]}, ("a", "", "b")),
        ({"input": [""]}, ("",)),
        ({"input": ""}, ()),
        ({"input": None}, ()),
        ({"input": []}, ()),
        ({}, ()),
    ],
)
async def test_what_counts_as_a_text(
    server: Server, made: list[EmbeddingRequest], body: dict[str, Any], inputs: tuple[str, ...]
) -> None:
    """native-api 214, 218, 219"""
    response = await server.post("/api/embed", {"model": "E:Latest", **body})
    [asked] = made
    assert asked == EmbeddingRequest(model="E:Latest", inputs=inputs)
    assert response.status_code == 200
    if inputs:
        assert response.text == (
            '{"model":"E:Latest","embeddings":[[0.1,-0.5],[1e-7,0.0]],"total_duration":30,"load_duration":20,'
            '"prompt_eval_count":7}'
        )
    else:
        assert response.text == '{"model":"E:Latest","embeddings":[]}'


async def test_all_that_embed_can_ask_for(server: Server, made: list[EmbeddingRequest]) -> None:
    body = {"input": "x", "truncate": False, "dimensions": 8, "keep_alive": "10m", "options": {"num_ctx": 64}}
    await server.post("/api/embed", {"model": "e", **body})
    assert made == [
        EmbeddingRequest(
            model="e", inputs=("x",), truncate=False, dimensions=8, keep_alive_seconds=600, options={"num_ctx": 64}
        )
    ]


async def test_the_older_call(server: Server, made: list[EmbeddingRequest]) -> None:
    """native-api 228, 229"""
    response = await server.post("/api/embeddings", {"model": "e", "prompt": "hi", "keep_alive": -1})
    assert response.text == '{"embedding":[0.10000000149011612,-0.5]}'
    await server.post("/api/embeddings", {"model": "e", "prompt": None})
    assert made == [
        EmbeddingRequest(model="e", inputs=("hi",), keep_alive_seconds=-1, is_older_call=True),
        EmbeddingRequest(model="e", is_older_call=True),
    ]
