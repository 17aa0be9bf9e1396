"""The model folder: listing many models, and making one of a large file, against what the system itself needs.

python -m tests.bench.store
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import gguf
import numpy as np
import psutil

from tests.bench.serving import Server, serving

MODELS, FILES, LISTINGS, ROUNDS = 500, 20, 30, 3
LIST_MILLISECONDS = 50
BIG_BYTES = 1 << 30
SCRIPTED = pathlib.Path(__file__).parents[1] / "models" / "scripted.gguf"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with serving(folder) as server:
            listing(server, folder)
            creating(server, folder)


def listing(server: Server, folder: pathlib.Path) -> None:
    """`/api/tags` with 500 models over 20 files, seen from a client, against a look at every manifest."""
    content = SCRIPTED.read_bytes()
    for number in range(FILES):
        upload(server, content.replace(b"scripted", b"model%03d" % number, 1), f"m{number}")
    for number in range(MODELS - FILES):
        server.post("/api/create", {"model": f"n{number}", "from": f"m{number % FILES}", "system": f"text {number}",
                                    "stream": False})  # fmt: skip
    first = seconds(lambda: get(server, "/api/tags")) * 1000
    assert len(get(server, "/api/tags")["models"]) >= MODELS
    ours = [seconds(lambda: get(server, "/api/tags")) * 1000 for _ in range(LISTINGS)]
    bare = [seconds(lambda: walk(folder / "models" / "manifests")) * 1000 for _ in range(LISTINGS)]
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"list of {MODELS} models: {spread(ours)} ms (at most {LIST_MILLISECONDS}), the first time {first:.1f} ms; "
          f"{ratio:.1f} times a walk over the folder ({spread(bare)} ms)")  # fmt: skip


def creating(server: Server, folder: pathlib.Path) -> None:
    """`puna create` from a file of 1 GiB on the same machine, against cp, sync and sha256sum of it, in turns."""
    path = write_big(folder / "big.gguf")
    size = path.stat().st_size
    (folder / "Modelfile").write_text(f"FROM {path}\n", encoding="utf-8")
    process = psutil.Process(server.process.pid)
    ours, tools, ratios, reads = [], [], [], []
    for _ in range(ROUNDS):
        tools.append(seconds(lambda: copy_and_hash(path, folder / "copy")))
        before = process.io_counters().read_chars
        ours.append(seconds(lambda: puna(server, folder, "create", "big", "-f", str(folder / "Modelfile"))))
        reads.append((process.io_counters().read_chars - before) / size)
        ratios.append(ours[-1] / tools[-1])
        puna(server, folder, "rm", "big")
        print(f"  cp, sync and sha256sum {tools[-1]:.2f} s, puna create {ours[-1]:.2f} s, ratio {ratios[-1]:.2f}, "
              f"file read {reads[-1]:.2f} times")  # fmt: skip
    print(f"create from {size / 1e9:.2f} GB: {spread(ours)} s, ratio {spread(ratios)}, file read {spread(reads)} times")
    puna(server, folder, "create", "big", "-f", str(folder / "Modelfile"))
    again = seconds(lambda: puna(server, folder, "create", "same", "-f", str(folder / "Modelfile")))
    print(f"create again from the same file: {again:.2f} s")


def write_big(path: pathlib.Path) -> pathlib.Path:
    """A llama with one large tensor of noise."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in (("block_count", 1), ("embedding_length", 1024), ("attention.head_count", 8)):
        writer.add_uint32(f"llama.{key}", value)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    block = np.random.default_rng(1).integers(0, 1 << 14, BIG_BYTES // 32, dtype=np.uint16).view(np.float16)
    writer.add_tensor("token_embd.weight", np.tile(block, 16).reshape(-1, 1024))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.sync()
    return path


def copy_and_hash(source: pathlib.Path, target: pathlib.Path) -> None:
    subprocess.run(["cp", "--reflink=auto", source, target], check=True)
    subprocess.run(["sync", target], check=True)
    subprocess.run(["sha256sum", source], check=True, capture_output=True)
    target.unlink()


def puna(server: Server, folder: pathlib.Path, *args: str) -> None:
    environ = {**os.environ, "HOME": str(folder), "OLLAMA_HOST": f"127.0.0.1:{server.port}"}
    subprocess.run([sys.executable, "-m", "server.cli.main", *args], check=True, capture_output=True, env=environ)


def upload(server: Server, content: bytes, name: str) -> None:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    server.post(f"/api/blobs/{digest}", None, content)
    server.post("/api/create", {"model": name, "files": {"x.gguf": digest}, "stream": False})


def get(server: Server, path: str) -> dict[str, list[object]]:
    answer: dict[str, list[object]] = json.loads(server.get(path))
    return answer


def walk(folder: pathlib.Path) -> None:
    for path, _, files in os.walk(folder):
        for name in files:
            os.stat(os.path.join(path, name))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} (from {min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    main()
