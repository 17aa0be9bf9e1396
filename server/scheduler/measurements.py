"""What loads really took, kept for the next time.

An entry belongs to one model, one way to load it, and this version of Puna: the engine's own sizes of its buffers, and
how much the process holds beside them. The newest entries are kept, in a small file that a crash leaves whole.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from server.errors import StoreError
from server.hardware.devices import CPU_POOL, Device
from server.messages.frames import LaunchPlan, Loaded
from server.scheduler import sizes
from server.scheduler.parts import Footprint
from server.store.files import store_errors, write_atomically
from server.version import VERSION

log = logging.getLogger(__name__)

MOST_ENTRIES = 256
MOST_FILE_BYTES = 4 * 1024 * 1024

Taken = Mapping[str, Mapping[str, int]]  # bytes by pool and kind of part
Measured = Callable[[str, LaunchPlan], Taken | None]


def nothing_measured(digest: str, plan: LaunchPlan) -> Taken | None:
    return None


def bucket_of(digest: str, plan: LaunchPlan) -> str:
    """Loads with the same bucket take the same memory."""
    facts = [
        digest, sizes.cells_of(plan), plan.slots, sizes.batch_of(plan), plan.kv_type.lower(), plan.flash_attention,
        plan.embedding, plan.gpu_layers, list(plan.device_indices or ()), plan.use_mmap,
        bool(plan.projector_path) and plan.projector_offload,
    ]  # fmt: skip
    return json.dumps(facts, separators=(",", ":"))


class Measurements:
    """Safe to use from any thread. A file that cannot be read or written costs corrections, nothing else."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._entries: dict[str, Taken] | None = None
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # a disk may be slow, and nobody who only asks shall wait for it

    def recall(self, digest: str, plan: LaunchPlan) -> Taken | None:
        """What this load took the last time; None where it is not known."""
        with self._lock:
            return self._known().get(bucket_of(digest, plan)) if digest else None

    def remember(self, digest: str, plan: LaunchPlan, taken: Taken) -> None:
        """Write it down; blocks for a moment where it is news."""
        bucket = bucket_of(digest, plan)
        with self._lock:
            known = self._known()
            is_news = known.pop(bucket, None) != taken
            known[bucket] = taken  # the newest last
            while len(known) > MOST_ENTRIES:
                del known[next(iter(known))]
        if is_news and self._path is not None:
            with self._writing:
                self._write(self._path)

    def _known(self) -> dict[str, Taken]:
        if self._entries is None:
            self._entries = _read(self._path) if self._path is not None else {}
        return self._entries

    def _write(self, path: Path) -> None:
        with self._lock:
            entries = dict(self._known())
        data = json.dumps({"version": VERSION, "loads": entries}, indent=1).encode()
        try:
            with store_errors("keep what a load took"):
                write_atomically(path, data, path.parent)
        except StoreError as error:
            log.warning("%s", error.log)


def _read(path: Path) -> dict[str, Taken]:
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            return {}
        content = json.loads(path.read_bytes())
        if content["version"] != VERSION:
            return {}
        return {str(bucket): _taken(entry) for bucket, entry in content["loads"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("what earlier loads took is forgotten, %s cannot be read: %s", path, error)
        return {}


def _taken(entry: Mapping[str, Mapping[str, int]]) -> Taken:
    return {str(pool): {str(kind): max(0, int(size)) for kind, size in sizes.items()} for pool, sizes in entry.items()}


# ---- reading a load ------------------------------------------------------------------------------------------------


def taken_by(
    loaded: Loaded, devices: Sequence[Device], plan: LaunchPlan, estimate: Footprint, resident: Mapping[str, int]
) -> Taken:
    """What a load took by pool and kind, from the engine's report; empty where it made none.

    `resident` are the bytes that the process has in each pool, as far as they are known; what no buffer explains is
    overhead. Weights that are mapped are reported with everything between the first and the last of them, so no more
    than was expected counts, and what is resident says nothing.
    """
    found: dict[str, dict[str, int]] = {}
    for buffer in loaded.buffers:
        pool = pool_of(buffer.device, devices) if buffer.is_gpu else CPU_POOL
        if buffer.kind != "other":
            kinds = found.setdefault(pool, {})
            kinds[buffer.kind] = kinds.get(buffer.kind, 0) + buffer.bytes
    for pool, kinds in found.items():
        if pool == CPU_POOL and plan.use_mmap:
            expected = next((each.bytes_of("weights") for each in estimate.devices if each.pool == pool), 0)
            kinds["weights"] = min(kinds.get("weights", 0), expected)
            continue
        # A processor's memory to compute in is hardly touched yet, so it is no part of what is resident.
        kept = sum(size for kind, size in kinds.items() if pool != CPU_POOL or kind != "compute")
        if resident.get(pool, 0) > kept:
            kinds["overhead"] = resident[pool] - kept
    return found


def pool_of(buffer_name: str, devices: Sequence[Device]) -> str:
    """A buffer's name begins with that of its device: CUDA0, MTL0_Mapped."""
    longest_first = sorted(devices, key=lambda device: -len(device.name))
    device = next((each for each in longest_first if buffer_name.startswith(each.name)), None)
    return device.pool if device is not None else CPU_POOL
