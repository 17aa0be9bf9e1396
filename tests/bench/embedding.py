"""Many short texts in one request against the same texts one by one, over HTTP, in turns."""

from __future__ import annotations

import hashlib
import pathlib
import statistics
import time
from typing import Any

from tests.bench import bert
from tests.bench.serving import Server, serving

ROUNDS = 5
TEXTS = 256
WANTED = 3.0


def embeddings(folder: pathlib.Path) -> None:
    """Print the ratio of the rates for an embedding model in a real shape."""
    model = bert.write(folder / "mini.gguf", bert.MINI)
    texts = [" ".join(f"w{(7 * number + word) % 1000}" for word in range(2 + number % 7)) for number in range(TEXTS)]
    with serving(folder, OLLAMA_KEEP_ALIVE="-1") as server:
        _create(server, model)
        _embed(server, texts[:8])
        ratios = []
        for _ in range(ROUNDS):
            together = _rate(server, [texts])
            singly = _rate(server, [[text] for text in texts])
            ratios.append(together / singly)
            print(f"  embeddings: {together:.0f} texts/s in a batch, {singly:.0f} one by one, ratio {ratios[-1]:.2f}")
    middle, least, most = statistics.median(ratios), min(ratios), max(ratios)
    print(f"{TEXTS} short texts: ratio {middle:.2f} (from {least:.2f} to {most:.2f}; at least {WANTED:g})")


def _create(server: Server, model: pathlib.Path) -> None:
    data = model.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    server.post(f"/api/blobs/{digest}", None, data)
    server.post("/api/create", {"model": "mini", "files": {"mini.gguf": digest}, "stream": False})


def _rate(server: Server, requests: list[list[str]]) -> float:
    began = time.perf_counter()
    for texts in requests:
        _embed(server, texts)
    return sum(map(len, requests)) / (time.perf_counter() - began)


def _embed(server: Server, texts: list[str]) -> Any:
    answer = server.post("/api/embed", {"model": "mini", "input": texts})
    assert len(answer["embeddings"]) == len(texts)
    return answer
