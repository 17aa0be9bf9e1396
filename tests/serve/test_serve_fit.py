"""Will it fit, through the whole of Puna: asked, loaded, and asked again."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from server.client import Client
from server.errors import PunaError
from tests.golden.server import RunningServer


def kinds(fit: dict[str, Any]) -> dict[str, int]:
    (pool,) = [pool for pool in fit["pools"] if pool["pool"] == "cpu"]
    found: dict[str, int] = {}
    for part in pool["parts"]:
        found[part["kind"]] = found.get(part["kind"], 0) + part["bytes"]
    return found


def test_a_load_is_foretold_and_then_corrects_the_next_answer(server: RunningServer, client: Client) -> None:
    before = client.fit("m", num_ctx=1024, kv_cache_type="f16")
    assert (before["basis"], before["verdict"], before["context_tokens"]) == ("about", "cpu", 1024)
    client.load("m", options={"num_ctx": 1024})
    (model,) = client.status()["models"]
    reported: dict[str, int] = {}
    for buffer in model["buffers"]:
        reported[buffer["kind"]] = reported.get(buffer["kind"], 0) + buffer["bytes"]
    for kind in ("weights", "kv", "output"):
        assert kinds(before)[kind] == pytest.approx(reported[kind], rel=0.05, abs=16384)
    after = client.fit("m", num_ctx=1024)
    assert after["basis"] == "measured"
    assert {kind: kinds(after)[kind] for kind in reported} == reported
    assert kinds(after)["overhead"] > 2**20
    assert client.fit("m", num_ctx=2048)["basis"] == "about"


def test_the_command(server: RunningServer) -> None:
    environ = {**os.environ, "OLLAMA_HOST": server.base, "HOME": str(server.home)}
    done = subprocess.run(
        [sys.executable, "-m", "server.cli.main", "show", "m", "--fit", "--num-ctx", "2048", "--parallel", "3"],
        capture_output=True, text=True, encoding="utf-8", env=environ, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("m:latest with 2048 tokens of context for 3 answers at once takes about ")
    assert "MEMORY" in done.stdout
    assert "6144 cells" in done.stdout


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"num_ctx": -1}, "num_ctx must be between 1"),
        ({"parallel": 1000}, "parallel must be between 1"),
        ({"kv_cache_type": "q9"}, 'the KV cache type "q9" is unknown; use one of f32, f16'),
    ],
)
def test_what_cannot_be_is_told(client: Client, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(PunaError, match=words) as caught:
        client.fit("m", **asked)
    assert caught.value.status == 400


def test_an_unknown_model(client: Client) -> None:
    with pytest.raises(PunaError) as caught:
        client.fit("nosuch")
    assert (caught.value.status, str(caught.value)) == (404, "model 'nosuch:latest' not found")
