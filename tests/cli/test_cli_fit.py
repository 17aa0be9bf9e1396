"""`puna show --fit`: a sentence, a table and the arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.cli.main import main
from tests.client.fake_server import FakeServer, ok

FIT: dict[str, Any] = {
    "model": "m:latest",
    "sentence": "m:latest takes about 5.2 GB.",
    "notes": ["the KV cache stays f16"],
    "pools": [
        {
            "name": "Card 0", "total_bytes": 5_000_000_000, "room_bytes": 12_000_000_000,
            "parts": [
                {"kind": "weights", "bytes": 4_000_000_000, "arithmetic": "33 of 33 layers"},
                {"kind": "weights", "bytes": 1_000_000_000, "arithmetic": "adapters"},
            ],
        },
        {
            "name": "system memory", "total_bytes": 200_000_000, "room_bytes": None,
            "parts": [{"kind": "overhead", "bytes": 200_000_000, "arithmetic": "the runner's process"}],
        },
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def at_the_fake_server(fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", fake.url)
    fake.routes[("POST", "/puna/v1/fit")] = ok(FIT)


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "m", "--fit"]) == 0
    assert capsys.readouterr().out == (
        "m:latest takes about 5.2 GB.\n"
        "\n"
        "MEMORY           WEIGHTS    KV    COMPUTE    OUTPUT    OVERHEAD    TOTAL     FREE     \n"
        "Card 0           5 GB       -     -          -         -           5 GB      12 GB    \n"
        "system memory    -          -     -          -         200 MB      200 MB    ?        \n"
        "\n"
        "Card 0, weights: 33 of 33 layers = 4000000000 bytes\n"
        "Card 0, weights: adapters = 1000000000 bytes\n"
        "system memory, overhead: the runner's process = 200000000 bytes\n"
        "Note: the KV cache stays f16\n"
    )


def test_what_if(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A number alone asks the question too, and `--json` is for scripts."""
    assert main(["show", "m", "--num-ctx", "8192", "--parallel", "4", "--kv-cache-type", "q8_0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == FIT
    assert fake.bodies("/puna/v1/fit") == [
        {"model": "m", "num_ctx": 8192, "parallel": 4, "kv_cache_type": "q8_0"},
    ]


def test_not_together_with_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "m", "--fit", "--license"]) == 1
    assert capsys.readouterr().err == "Error: --fit and --license cannot be used together\n"
