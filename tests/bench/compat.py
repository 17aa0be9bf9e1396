"""What a dialect costs: streamed answers of one model through the native API, OpenAI's and Anthropic's, in turns. Given
are the ratio of the token rates and the server's own CPU time per token, the runner's left out. The model is a small
one, so that the server and not the model is the slow part."""

from __future__ import annotations

import hashlib
import pathlib
import socket
import statistics
import time
from typing import Any

import psutil

from tests.bench.serving import Server, read_all, request_bytes

ROUNDS = 7
TOKENS = 1024
SMALL = pathlib.Path(__file__).parents[1] / "models" / "scripted.gguf"
_ASK = {"messages": [{"role": "user", "content": "SKY"}], "stream": True}
_OPTIONS = {"temperature": 0, "ignore_eos": True}
ROUTES: dict[str, tuple[str, dict[str, Any], bytes]] = {
    "native": ("/api/chat", {**_ASK, "options": {**_OPTIONS, "num_predict": TOKENS}}, b'"message"'),
    "openai": ("/v1/chat/completions", {**_ASK, **_OPTIONS, "max_tokens": TOKENS}, b'"delta"'),
    "anthropic": ("/v1/messages", {**_ASK, **_OPTIONS, "max_tokens": TOKENS}, b"content_block_delta\n"),
}


def dialects(server: Server) -> None:
    data = SMALL.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    server.post(f"/api/blobs/{digest}", None, data)
    server.post("/api/create", {"model": "small", "files": {"model.gguf": digest}, "stream": False})
    rates: dict[str, list[float]] = {name: [] for name in ROUTES}
    costs: dict[str, list[float]] = {name: [] for name in ROUTES}
    order = list(ROUTES)
    for name in order:
        _measured(server, name)  # the first answer of a route imports and compiles
    for turn in range(ROUNDS):
        for name in order[turn % 3 :] + order[: turn % 3]:
            rate, cost = _measured(server, name)
            rates[name].append(rate)
            costs[name].append(cost)
    for name in order:
        ratios = [one / native for one, native in zip(rates[name], rates["native"], strict=True)]
        print(
            f"dialect {name}: {statistics.mean(costs[name]):.0f} µs of the server's CPU per token, "
            f"rate {statistics.median(ratios):.3f} of the native one (from {min(ratios):.3f} to {max(ratios):.3f})"
        )


def _measured(server: Server, name: str) -> tuple[float, float]:
    """Tokens per second, and microseconds of the server's CPU per token."""
    path, body, mark = ROUTES[name]
    process = psutil.Process(server.process.pid)
    before, began = sum(process.cpu_times()[:2]), time.perf_counter()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request_bytes(path, {"model": "small", **body}))
        answer = read_all(connection)
    seconds = time.perf_counter() - began
    used = sum(process.cpu_times()[:2]) - before
    pieces = answer.count(mark)
    assert pieces > TOKENS / 2, answer[-500:]
    return TOKENS / seconds, used / TOKENS * 1e6
