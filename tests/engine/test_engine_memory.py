"""The caches of many architectures: the estimate from the header against what llama.cpp reports of a context."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.messages.frames import LaunchPlan
from server.scheduler.sizes import cache_layer_bytes
from server.store.gguf import read_header
from tests.engine.bare_models import MODELS, write

ROUNDING_BYTES = 2**15
PLANS = (
    LaunchPlan(model_path="", context_tokens=2048, slots=2, batch_tokens=512, flash_attention="on"),
    LaunchPlan(model_path="", context_tokens=4096, slots=1, batch_tokens=256, flash_attention="off"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    for name in MODELS:
        write(folder / f"{name}.gguf", name)
    return folder


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, Any]:
    """By architecture, what llama.cpp reports for each plan; a process of its own, because it loads native code."""
    plans = [[plan.context_tokens, plan.slots, plan.batch_tokens, int(plan.flash_attention == "on")] for plan in PLANS]
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.bare_models", str(folder), json.dumps(plans)],
        capture_output=True, text=True, timeout=120, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("architecture", MODELS)
def test_the_cache_of(architecture: str, folder: Path, reports: dict[str, Any]) -> None:
    shape = read_header(folder / f"{architecture}.gguf").shape()
    for plan, reported in zip(PLANS, reports[architecture], strict=True):
        estimate = sum(cache_layer_bytes(shape, plan))
        assert estimate == pytest.approx(reported, rel=0.01, abs=ROUNDING_BYTES)
