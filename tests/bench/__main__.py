"""Measure, both sides in turns, and print ratios. Let nothing else run meanwhile."""

from __future__ import annotations

import hashlib
import pathlib
import statistics
import subprocess
import sys
import tempfile

from tests.bench import pull, shapes, vision
from tests.bench.compat import dialects
from tests.bench.embedding import embeddings
from tests.bench.serving import Server, serving
from tests.bench.store import main as model_folder
from tests.bench.structure import structured

ROUNDS = 5
TOKENS = {1: 64, 8: 128}  # of an answer by streams: eight begin and end a step or two apart, which must not count much
LOADED_REQUESTS = 60
MIB = 1024 * 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        start(folder)
        model = shapes.write(folder / "model.gguf", shapes.HALF_BILLION)
        rates(folder, model)
        embeddings(folder)
    vision.main()
    model_folder()
    pull.main([])


def start(folder: pathlib.Path) -> None:
    """From `puna serve` to an answered request, before any model is loaded."""
    cpu, memory, wall = [], [], []
    for _ in range(ROUNDS):
        with serving(folder) as server:
            cpu.append(server.cpu_seconds)
            memory.append(server.memory_bytes / MIB)
            wall.append(server.wall_seconds)
    print(f"start: {_spread(cpu)} s of CPU time (at most 1), {_spread(memory)} MiB (at most 80), {_spread(wall)} s")


def rates(folder: pathlib.Path, model: pathlib.Path) -> None:
    """Tokens per second over HTTP against the bare loop, one stream and eight, in turns."""
    with serving(folder, OLLAMA_NUM_PARALLEL="8", OLLAMA_CONTEXT_LENGTH="512", OLLAMA_KEEP_ALIVE="-1") as server:
        _create(server, model)
        body = {
            "model": "bench", "prompt": "w1 w2 w3", "raw": True, "keep_alive": -1,
            "options": {"temperature": 0, "num_predict": TOKENS[1]},
        }  # fmt: skip
        server.stream(body)
        for streams, wanted in ((1, 0.95), (8, 0.93)):
            ratios = []
            asked = body | {"options": {"temperature": 0, "num_predict": TOKENS[streams]}}
            for _ in range(ROUNDS):
                bare = _bare(model, streams)
                over_http = server.streams(asked, streams)
                ratios.append(over_http / bare)
                print(
                    f"  {streams} streams: bare {bare:.1f} tokens/s, over HTTP {over_http:.1f}, ratio {ratios[-1]:.3f}"
                )
            print(f"{streams} streams: ratio {_spread(ratios)} (at least {wanted})")
        loads = [server.stream(body | {"options": {"num_predict": 1}})[2]["load_duration"] / 1e6
                 for _ in range(LOADED_REQUESTS)]  # fmt: skip
        print(f"scheduler, model loaded: {_spread(loads)} ms before the runner is reached (at most 3)")
        structured(server, body)
        dialects(server)


def _create(server: Server, model: pathlib.Path) -> None:
    data = model.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    server.post(f"/api/blobs/{digest}", None, data)
    server.post("/api/create", {"model": "bench", "files": {"model.gguf": digest}, "stream": False})


def _bare(model: pathlib.Path, streams: int) -> float:
    command = [sys.executable, "-m", "tests.bench.bare", str(model), str(streams), str(TOKENS[streams])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} (from {min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    main()
