"""`/puna/v1/fit`: what is asked reaches the arithmetic, and its answer the client."""

from __future__ import annotations

from typing import Any

import pytest

from server.errors import ModelNotFound
from server.inference.fitting import Question
from server.scheduler.fit import Fit, PoolFit
from server.scheduler.parts import Part
from tests.api.conftest import Server

pytestmark = pytest.mark.anyio

FIT = Fit(
    model="m:latest", verdict="cpu", sentence="It fits.", basis="about", context_tokens=4096, slots=1,
    batch_tokens=512, kv_cache_type="f16", flash_attention="auto", gpu_layers=0, total_layers=3, projector="",
    total_bytes=5,    pools=(PoolFit("cpu", "system memory", (Part("weights", 5, "all tensors"),), 5, None),),
)  # fmt: skip


async def test_the_answer(server: Server) -> None:
    server.services.fitting.answer = FIT
    answer = await server.post("/puna/v1/fit", {"model": "m"})
    assert answer.status_code == 200
    assert server.services.fitting.asked == [("m", Question())]
    assert answer.json() == {
        "model": "m:latest", "verdict": "cpu", "sentence": "It fits.", "basis": "about", "context_tokens": 4096,
        "slots": 1, "batch_tokens": 512, "kv_cache_type": "f16", "flash_attention": "auto", "gpu_layers": 0,
        "total_layers": 3, "projector": "", "total_bytes": 5, "notes": [],
        "pools": [{
            "pool": "cpu", "name": "system memory", "total_bytes": 5, "room_bytes": None,
            "parts": [{"kind": "weights", "bytes": 5, "arithmetic": "all tensors", "is_later": False}],
        }],
    }  # fmt: skip


async def test_what_if(server: Server) -> None:
    server.services.fitting.answer = FIT
    asked: dict[str, Any] = {"name": "m", "num_ctx": 8192, "parallel": 4, "kv_cache_type": "q8_0"}
    assert (await server.post("/puna/v1/fit", asked)).status_code == 200
    assert server.services.fitting.asked == [("m", Question(8192, 4, "q8_0"))]


async def test_failures(server: Server) -> None:
    server.services.fitting.failure = ModelNotFound("model 'm' not found")
    answer = await server.post("/puna/v1/fit", {"model": "m"})
    assert (answer.status_code, answer.json()) == (404, {"error": "model 'm' not found"})
    answer = await server.post("/puna/v1/fit", {"model": "m", "num_ctx": "many"})
    assert answer.status_code == 400
    assert "num_ctx" in answer.json()["error"]
