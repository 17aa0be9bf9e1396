"""Finding devices: what is listed, what probes add, and what breaks without harm."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from server.hardware.devices import Device, Reading
from server.hardware.discovery import Discovery, listing_command
from server.hardware.memory import SystemMemory
from server.hardware.nvidia import NvidiaDriver, short_pci_id

pytestmark = pytest.mark.anyio
GIB = 2**30
SYSTEM = SystemMemory(64 * GIB, 40 * GIB)


class FakeNvml:
    """Two cards; `free` may change."""

    def __init__(self) -> None:
        self.free = [10 * GIB, 70 * GIB]
        self.inits = self.shutdowns = 0
        self.is_broken = self.is_old = False

    def nvmlInit(self) -> None:
        self.inits += 1
        if self.is_broken:
            raise OSError("driver/library version mismatch")

    def nvmlShutdown(self) -> None:
        self.shutdowns += 1

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"570.1"

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=(24 * GIB, 80 * GIB)[handle], free=self.free[handle])

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return ((8, 9), (9, 0))[handle]

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle: int) -> str:
        return ("NVIDIA L4", "NVIDIA H100")[handle]

    def nvmlDeviceGetPciInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(busId=f"00000000:0{handle + 1}:00.0".encode())

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        if self.is_old:
            raise AttributeError("function not found")
        others = [SimpleNamespace(pid=7, usedGpuMemory=5 * GIB), SimpleNamespace(pid=8, usedGpuMemory=None)]
        return [*others, SimpleNamespace(pid=9, usedGpuMemory=(handle + 1) * GIB)]


def row(name: str, kind: str = "gpu", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": "a card",
        "type": kind,
        "memory_free": 8 * GIB,
        "memory_total": 9 * GIB,
        **fields,
    }


def discovery(
    rows: Sequence[Mapping[str, Any]] | Exception, environ: Mapping[str, str] | None = None, nvml: Any = None
) -> Discovery:
    async def listing() -> Sequence[Mapping[str, Any]]:
        await anyio.lowlevel.checkpoint()
        if isinstance(rows, Exception):
            raise rows
        return rows

    broken = FakeNvml()
    broken.is_broken = True
    return Discovery(environ or {}, listing=listing, driver=NvidiaDriver(nvml or broken), system_memory=lambda: SYSTEM)


async def test_a_machine_without_gpus(caplog: pytest.LogCaptureFixture) -> None:
    """runtime 39."""
    caplog.set_level(logging.INFO)
    found = discovery([row("CPU", "cpu")])
    assert await found.devices() == ()
    assert await found.measure() == Reading({"cpu": 40 * GIB}, {"cpu": 64 * GIB})
    assert [message for message in caplog.messages if "inference compute" in message and "library=cpu" in message]


async def test_a_listing_that_breaks_leaves_the_processor(caplog: pytest.LogCaptureFixture) -> None:
    assert await discovery(RuntimeError("segfault")).devices() == ()
    assert "models run on the processor: segfault" in caplog.text
    assert await discovery([{"type": "gpu", "name": "CUDA0"}]).devices() == ()


async def test_nvidia_facts_are_added_by_address_and_by_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    nvml = FakeNvml()
    rows = [
        row("CUDA0", id="0000:02:00.0"),
        row("CUDA1", description="NVIDIA L4", memory_total=int(23.7 * GIB)),
        row("CUDA2", description="NVIDIA L4"),
    ]
    found = discovery(rows, nvml=nvml)
    first, second, third = await found.devices()
    assert (first.uuid, first.compute, first.driver, first.free_bytes) == ("GPU-1", "9.0", "570.1", 70 * GIB)
    assert (second.uuid, second.compute) == ("GPU-0", "8.9")
    assert third.uuid == ""
    assert sum("inference compute" in message for message in caplog.messages) == 3

    nvml.free = [1 * GIB, 2 * GIB]
    reading = await found.measure()
    assert reading.free == {"cpu": 40 * GIB, "gpu0": 2 * GIB, "gpu1": 1 * GIB}
    assert reading.total == {"cpu": 64 * GIB, "gpu0": 80 * GIB, "gpu1": 24 * GIB, "gpu2": 8 * GIB}
    found.close()
    assert (nvml.inits, nvml.shutdowns) == (1, 1)


async def test_a_broken_driver_changes_nothing() -> None:
    (device,) = await discovery([row("CUDA0")]).devices()
    assert (device.compute, device.uuid) == ("", "")


async def test_what_a_process_holds() -> None:
    nvml = FakeNvml()
    found = discovery([row("CUDA0", id="0000:02:00.0"), row("MTL0")], nvml=nvml)
    assert await found.process_memory(9) == {"gpu0": 2 * GIB}  # the other card is hidden from us
    assert await found.process_memory(8) == {}
    assert await found.process_memory(1) == {}
    nvml.is_old = True
    assert await found.process_memory(9) == {}
    assert await discovery([row("MTL0")]).process_memory(9) == {}


async def test_the_list_is_made_once() -> None:
    asked = []

    async def listing() -> Sequence[Mapping[str, Any]]:
        asked.append(1)
        await anyio.lowlevel.checkpoint()
        return [row("MTL0")]

    found = Discovery({}, listing=listing, driver=NvidiaDriver(FakeNvml()), system_memory=lambda: SYSTEM)
    results: list[tuple[Device, ...]] = []

    async def ask() -> None:
        results.append(await found.devices())

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert len(asked) == 1
    assert all(result is results[0] for result in results)


@pytest.mark.parametrize(
    ("name", "choice", "kept"),
    [
        ("Vulkan0", "", False),
        ("Vulkan0", "1", True),
        ("Vulkan0", "0", False),
        ("CUDA0", "", True),
        ("CUDA0", "0", False),
        ("MTL0", "0", True),
    ],
)
async def test_integrated_gpus(name: str, choice: str, kept: bool) -> None:
    """runtime 82."""
    found = await discovery([row(name, "igpu")], {"OLLAMA_IGPU_ENABLE": choice}).devices()
    assert bool(found) is kept


async def test_overrides_are_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    """runtime 81; the engine's own listing sees the variable."""
    await discovery([], {"CUDA_VISIBLE_DEVICES": "-1"}).devices()
    assert "user overrode visible devices: CUDA_VISIBLE_DEVICES=-1" in caplog.text
    assert "if GPUs are not correctly discovered, unset and try again" in caplog.text


async def test_shared_memory_is_limited_by_the_system() -> None:
    found = discovery([row("Vulkan0", "igpu", memory_free=500 * GIB)], {"OLLAMA_IGPU_ENABLE": "1"})
    assert (await found.measure()).total["gpu0"] == SYSTEM.total_bytes


async def test_the_engine_is_asked_in_a_process_with_the_runners_environment() -> None:
    code = (
        "import json, os; "
        "print(json.dumps([dict(name=os.environ['DEVICE'], type='gpu', memory_free=1, memory_total=2)]))"
    )
    environ = {"DEVICE": "ROCm0"}
    found = Discovery(
        environ, (sys.executable, "-c", code), driver=NvidiaDriver(FakeNvml()), system_memory=lambda: SYSTEM
    )
    (device,) = await found.devices()
    assert device.library == "ROCm"


async def test_a_listing_process_that_fails_is_quoted(caplog: pytest.LogCaptureFixture) -> None:
    failing = (sys.executable, "-c", "import sys; sys.exit('no such library')")
    assert await Discovery({}, failing, system_memory=lambda: SYSTEM).devices() == ()
    assert "ended with status 1: no such library" in caplog.text


def test_small_pieces() -> None:
    assert short_pci_id("00000000:0A:00.0") == "0000:0a:00.0"
    assert listing_command()[-1] == "devices"
