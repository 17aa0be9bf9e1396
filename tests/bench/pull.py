"""Pull from a registry on this machine against `curl` to a file and `sha256sum` of it, in turns.

python -m tests.bench.pull [megabytes]
"""

from __future__ import annotations

import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

from server.client import Client
from server.store import Store
from server.store.manifest import CONFIG_TYPE, Layer, Manifest
from tests.bench.serving import serving
from tests.registry.docker import DockerRegistry, docker_registry

ROUNDS = 3
MEGABYTES = 600
MIB = 1024 * 1024


def main(arguments: list[str]) -> None:
    size = int(arguments[0] if arguments else MEGABYTES) * 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        with docker_registry(folder / "registry") as docker:
            measure(folder, docker, size)


def measure(folder: pathlib.Path, docker: DockerRegistry, size: int) -> None:
    digest = _publish(folder, docker, size)
    url = f"http://{docker.host}/v2/bench/m/blobs/{digest}"
    ratios, peaks = [], []
    for number in range(ROUNDS):
        by_hand = _curl(url, folder / "file", digest)
        pulled, peak = _pull(folder / f"pull-{number}", f"{docker.host}/bench/m")
        ratios.append(by_hand / pulled)
        peaks.append(peak / MIB)
        print(
            f"  curl and sha256sum {size / by_hand / 1e6:.0f} MB/s, pull {size / pulled / 1e6:.0f} MB/s, "
            f"ratio {ratios[-1]:.2f}, peak {peaks[-1]:.0f} MiB"
        )
    print(
        f"pull: {statistics.median(ratios):.2f} of the rate of curl and sha256sum (at least 0.7), "
        f"server's peak memory {max(peaks):.0f} MiB (at most 100)"
    )


def _publish(folder: pathlib.Path, docker: DockerRegistry, size: int) -> str:
    """A model with one large layer, pushed by a server of its own; the layer's digest."""
    (folder / "publisher").mkdir()
    with serving(folder / "publisher") as server:
        store = Store(folder / "publisher" / "models")
        chance = random.Random(1)
        with store.blobs.incoming() as incoming:
            for at in range(0, size, 10 * MIB):
                incoming.write(chance.randbytes(min(10 * MIB, size - at)))
            digest = incoming.digest
            incoming.keep(digest)
        config, _ = store.blobs.write(b"{}")
        manifest = Manifest(
            config=Layer(media_type=CONFIG_TYPE, digest=config, size=2),
            layers=(Layer(media_type="application/vnd.example.bytes", digest=digest, size=size),),
        )
        name = store.resolve(f"{docker.host}/bench/m")
        store.manifests.write(name, manifest.encode())
        with Client(f"http://127.0.0.1:{server.port}") as client:
            assert list(client.push(name.full, insecure=True))[-1] == {"status": "success"}
        store.delete(name)
    return digest


def _curl(url: str, path: pathlib.Path, digest: str) -> float:
    """Seconds."""
    begin = time.perf_counter()
    subprocess.run(["curl", "--silent", "--fail", "--output", path, url], check=True)
    said = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - begin
    assert said.split()[0] == digest.removeprefix("sha256:")
    path.unlink()
    return seconds


def _pull(folder: pathlib.Path, name: str) -> tuple[float, int]:
    """Seconds, and the most memory that the server had meanwhile in bytes."""
    folder.mkdir()
    with serving(folder) as server, Client(f"http://127.0.0.1:{server.port}") as client:
        begin = time.perf_counter()
        assert list(client.pull(name, insecure=True))[-1] == {"status": "success"}
        seconds = time.perf_counter() - begin
        peak = _peak_bytes(server.process.pid)
        client.delete(name)
    return seconds, peak


def _peak_bytes(pid: int) -> int:
    """The most memory that a process has had, as Linux counts it."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main(sys.argv[1:])
