"""The estimate of a model's memory against what llama.cpp reports once it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import gguf
import pytest

from server.messages.frames import LaunchPlan
from server.scheduler.footprint import footprint
from server.scheduler.parts import PartKind
from server.store.gguf import read_header
from server.store.gguf_projector import projector_shape
from tests.bench import bert
from tests.runner.conftest import Running
from tests.runner.zero_models import Zeros, write
from tests.runner.zero_projectors import ZeroProjector, write_projector

pytestmark = pytest.mark.anyio

MIB = 2**20
ROUNDING_BYTES = MIB // 64  # the report has two digits of a mebibyte for each buffer

LLAMA = Zeros()
BIG_VOCABULARY = Zeros(kind="Q8_0", layers=6, width=256, head=32, vocab=128000, is_tied=True)
REPACKED = Zeros(kind="Q4_0", layers=10, vocab=64000, is_tied=True)
K_QUANTS = Zeros(kind="Q4_K", layers=10, width=768, heads=12, kv_heads=12, feed_forward=2048)
QWEN2 = Zeros("qwen2", heads=8, kv_heads=4, has_bias=True, feed_forward=2048)
QWEN3 = Zeros("qwen3", heads=8, kv_heads=4, head=128, has_head_norms=True)
MIXTURE = Zeros("qwen3moe", layers=6, head=64, has_head_norms=True, feed_forward=256, experts=16, experts_used=4)
GEMMA2 = Zeros("gemma2", heads=4, kv_heads=2, head=128, is_tied=True, has_post_norms=True,
               extra={"attention.sliding_window": 512})  # fmt: skip
GEMMA3 = Zeros("gemma3", layers=12, heads=4, kv_heads=2, head=128, is_tied=True, has_post_norms=True,
               has_head_norms=True, extra={"attention.sliding_window": 256})  # fmt: skip
SCAN = {"ssm.conv_kernel": 4, "ssm.inner_size": 1024, "ssm.state_size": 16, "ssm.time_step_rank": 32}
MAMBA = Zeros("mamba", layers=10, heads=0, kv_heads=0, feed_forward=0, extra=SCAN)

CASES: dict[str, tuple[Zeros, dict[str, Any]]] = {
    "llama, many streams": (LLAMA, {"context_tokens": 1024, "slots": 8}),
    "llama, q8_0 cache": (LLAMA, {"context_tokens": 8192, "slots": 1, "kv_type": "q8_0", "flash_attention": "on"}),
    "llama, no flash attention": (LLAMA, {"context_tokens": 2048, "slots": 2, "flash_attention": "off"}),
    "llama, large batch": (LLAMA, {"context_tokens": 4096, "slots": 1, "batch_tokens": 2048}),
    "llama, mapped": (LLAMA, {"context_tokens": 512, "slots": 1, "use_mmap": True}),
    "big vocabulary, tied": (BIG_VOCABULARY, {"context_tokens": 4096, "slots": 4}),
    "tied and laid out anew": (REPACKED, {"context_tokens": 2048, "slots": 1}),
    "k-quants, every head its own keys": (K_QUANTS, {"context_tokens": 1000, "slots": 3}),
    "qwen2, q4_0 cache": (QWEN2, {"context_tokens": 8192, "slots": 1, "kv_type": "q4_0"}),
    "qwen3": (QWEN3, {"context_tokens": 4096, "slots": 2, "batch_tokens": 1024}),
    "experts": (MIXTURE, {"context_tokens": 2048, "slots": 2}),
    "gemma2, windows": (GEMMA2, {"context_tokens": 4096, "slots": 2}),
    "gemma3, windows, no flash attention": (GEMMA3, {"context_tokens": 8192, "slots": 1, "flash_attention": "off"}),
    "gemma3, windows, f32 cache": (GEMMA3, {"context_tokens": 2048, "slots": 4, "kv_type": "f32"}),
    "mamba, recurrent": (MAMBA, {"context_tokens": 512, "slots": 8}),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_estimate_meets_the_report(case: str, tmp_path: Path, running: Running) -> None:
    """Within 5 % for weights and cache, within 15 % in total."""
    model, settings = CASES[case]
    path = write(tmp_path / "model.gguf", model)
    await _compare(path, {"batch_tokens": 512, "use_mmap": False, **settings}, running)


@pytest.mark.parametrize("pooled", [False, True], ids=["reads whole texts", "pools what it generates"])
async def test_embedding_models(pooled: bool, tmp_path: Path, running: Running) -> None:
    path = tmp_path / "model.gguf"
    if pooled:
        write(path, Zeros("qwen3", has_head_norms=True, is_tied=True, extra={"pooling_type": gguf.PoolingType.LAST}))
    else:
        bert.write(path, bert.MINI)
    await _compare(path, {"context_tokens": 512, "slots": 1, "batch_tokens": 512, "embedding": True}, running)


EYES = {
    "gemma3": ZeroProjector("gemma3", side=896, width=1152, heads=16, feed_forward=4304),
    "llava": ZeroProjector("mlp", side=336, width=1024, heads=16, feed_forward=4096),
    "gemma3 without flash attention": ZeroProjector("gemma3", side=448, width=1152, heads=16, feed_forward=4304),
    "whisper": ZeroProjector("ultravox", width=1280, heads=20, feed_forward=5120),
}


@pytest.mark.parametrize("case", EYES)
async def test_projectors(case: str, tmp_path: Path, running: Running) -> None:
    """With the sizes of real ones, but fewer layers."""
    path = write(tmp_path / "model.gguf", LLAMA)
    settings: dict[str, Any] = {"context_tokens": 1024, "slots": 1, "batch_tokens": 512, "use_mmap": False}
    settings["projector_path"] = str(write_projector(tmp_path / "projector.gguf", EYES[case], LLAMA.width))
    settings["flash_attention"] = "off" if "without" in case else "on"
    await _compare(path, settings, running)


async def _compare(path: Path, settings: dict[str, Any], running: Running) -> None:
    header = read_header(path)
    plan = LaunchPlan(model_path=str(path), **settings)
    projector = projector_shape(read_header(Path(plan.projector_path)), 0) if plan.projector_path else None
    estimate = footprint(header.shape(), plan, projector=projector)
    reported: dict[str, int] = dict.fromkeys(("weights", "kv", "compute", "output"), 0)
    async with running(str(path), **settings) as runner:
        for buffer in runner.loaded.buffers:
            reported[buffer.kind] = reported.get(buffer.kind, 0) + buffer.bytes
    assert sum(reported.values()) > 40 * MIB  # else a percentage would say little
    for kind, tolerance in (("weights", 0.05), ("kv", 0.05), ("compute", 0.15)):
        expected = pytest.approx(reported[kind], rel=tolerance, abs=ROUNDING_BYTES)
        assert estimate.bytes_of(cast(PartKind, kind)) == expected, kind
    total = estimate.total_bytes - estimate.bytes_of("overhead")
    assert total == pytest.approx(sum(reported.values()), rel=0.15)
