"""A real server in a folder of its own, and a client that costs next to nothing."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

START_SECONDS = 60.0


class Server:
    """`cpu_seconds` and `memory_bytes` are those of the server's process when it first answered."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process
        self.cpu_seconds = 0.0
        self.memory_bytes = 0
        self.wall_seconds = 0.0

    def post(self, path: str, body: Any, content: bytes | None = None) -> Any:
        """The answer's JSON; of a stream its last object."""
        data = content if content is not None else json.dumps(body).encode()
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(_request("POST", path, data))
            answer = read_all(connection)
        return json.loads(answer.split(b"\n")[-2] if b"\n" in answer.strip() else answer) if answer.strip() else None

    def get(self, path: str) -> bytes:
        """The answer's body."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(_request("GET", path, b""))
            return read_all(connection)

    def stream(self, body: dict[str, Any]) -> tuple[float, float, dict[str, Any]]:
        """Times of the first and the last piece of a streamed answer, and its last object."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(_request("POST", "/api/generate", json.dumps(body).encode()))
            first, tail = 0.0, b""
            while data := connection.recv(1 << 16):
                now = time.perf_counter()
                tail = (tail + data)[-8192:]
                if not first and b'"response"' in tail:
                    first = now
            last = [line for line in tail.split(b"\n") if line.startswith(b'{"model"')][-1]
            return first, now, json.loads(last)

    def streams(self, body: dict[str, Any], count: int) -> float:
        """Tokens per second of `count` answers at once, from the first piece of all to the last."""
        with ThreadPoolExecutor(count) as pool:
            done = list(pool.map(lambda number: self.stream({**body, "prompt": f"w{number} w7 w8"}), range(count)))
        tokens = sum(last["eval_count"] - 1 for _, _, last in done)
        return tokens / (max(end for _, end, _ in done) - min(first for first, _, _ in done))


@contextlib.contextmanager
def serving(folder: pathlib.Path, **environ: str) -> Iterator[Server]:
    """A server that has just answered /api/version for the first time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    full = {
        **os.environ, "HOME": str(folder), "OLLAMA_MODELS": str(folder / "models"), "OLLAMA_HOST": f"127.0.0.1:{port}",
        **environ,
    }  # fmt: skip
    log = (folder / "server.log").open("ab")
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "server.cli.main", "serve"], env=full, stdout=log, stderr=log)
    server = Server(port, process)
    try:
        _wait(server, began)
        yield server
    finally:
        process.terminate()
        process.wait()
        log.close()


def _wait(server: Server, began: float) -> None:
    while time.perf_counter() - began < START_SECONDS:
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(_request("GET", "/api/version", b""))
                answered = b"version" in read_all(connection)
            if answered:
                ours = psutil.Process(server.process.pid)
                times = ours.cpu_times()
                server.wall_seconds = time.perf_counter() - began
                server.cpu_seconds = times.user + times.system
                server.memory_bytes = ours.memory_info().rss
                return
        time.sleep(0.01)
    raise SystemExit("the server did not start")


def request_bytes(path: str, body: Any) -> bytes:
    return _request("POST", path, json.dumps(body).encode())


def _request(method: str, path: str, data: bytes) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def read_all(connection: socket.socket) -> bytes:
    """The body without its chunk sizes."""
    raw = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = raw.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return body
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        out, body = out + body[:count], body[count + 2 :]
    return out
