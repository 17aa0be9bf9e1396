"""Which devices models can use, found once and in the background; and how much memory is free, read when asked.

llama.cpp says what it can use, in a child process, because a broken driver takes down whoever asks. Probes then add
what their vendors know better. To add a vendor: a function from devices to devices, and a row in PROBES.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread

from server.hardware.devices import CPU_POOL, Device, Reading, read_listing
from server.hardware.memory import SystemMemory, read_system_memory
from server.hardware.nvidia import Card, NvidiaDriver
from server.programs import ENGINE, start_folder

log = logging.getLogger(__name__)

LISTING_SECONDS = 90.0 if sys.platform == "win32" else 30.0
VISIBILITY = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "GGML_VK_VISIBLE_DEVICES",
    "HSA_OVERRIDE_GFX_VERSION",
)

Rows = Sequence[Mapping[str, Any]]
Listing = Callable[[], Awaitable[Rows]]
Probe = Callable[[tuple[Device, ...], NvidiaDriver], tuple[Device, ...]]


class Discovery:
    """The machine's devices and memory.

    `environ` is what runners get, so that the listing sees the devices that they will see. `command` prints the
    listing; None asks this interpreter's engine. `listing`, `driver` and `system_memory` stand in for the real ones.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        command: Sequence[str] | None = None,
        *,
        listing: Listing | None = None,
        driver: NvidiaDriver | None = None,
        system_memory: Callable[[], SystemMemory] = read_system_memory,
    ) -> None:
        self.environ = environ
        self.command = tuple(command or listing_command())
        self._listing = listing or self._ask_engine
        self._driver = driver or NvidiaDriver()
        self._system_memory = system_memory
        self._devices: tuple[Device, ...] | None = None
        self._lock = anyio.Lock()

    async def devices(self) -> tuple[Device, ...]:
        """The GPUs, best known; empty on a machine that has only its processor. The first call takes seconds; the
        others wait for it."""
        if self._devices is None:
            async with self._lock:
                if self._devices is None:
                    self._warn_of_overrides()
                    rows = await self._rows()
                    self._devices = await anyio.to_thread.run_sync(self._discover, rows, abandon_on_cancel=True)
        return self._devices

    async def measure(self) -> Reading:
        """Free and total memory now."""
        devices = await self.devices()
        return await anyio.to_thread.run_sync(self._measure, devices, abandon_on_cancel=True)

    async def process_memory(self, pid: int) -> dict[str, int]:
        """What a process holds of each GPU, in bytes per pool, as far as drivers tell."""
        pools = {device.uuid: device.pool for device in await self.devices() if device.uuid}
        if not pools:
            return {}
        held = await anyio.to_thread.run_sync(self._driver.process_bytes, pid, abandon_on_cancel=True)
        return {pools[uuid]: size for uuid, size in held.items() if uuid in pools}

    def close(self) -> None:
        self._driver.close()

    async def _rows(self) -> Rows:
        try:
            return await self._listing()
        except Exception as error:  # whatever a driver does to the child, models still run on the processor
            log.warning("GPUs could not be listed, so models run on the processor: %s", error or type(error).__name__)
            return ()

    async def _ask_engine(self) -> Rows:
        with anyio.fail_after(LISTING_SECONDS):
            done = await anyio.run_process(
                self.command,
                env=dict(self.environ),
                cwd=start_folder(),
                stdin=subprocess.DEVNULL,
                check=False,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        if done.returncode != 0:
            last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"the device listing ended with status {done.returncode}: {last}")
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    # ---- blocking, in a thread -------------------------------------------------------------------------------------

    def _discover(self, rows: Rows) -> tuple[Device, ...]:
        try:
            devices = tuple(device for device in read_listing(rows) if self._is_wanted(device))
        except (KeyError, TypeError, ValueError) as error:
            log.warning("The list of GPUs cannot be read, so models run on the processor: %r", error)
            devices = ()
        for name, probe in PROBES.items():
            try:
                devices = probe(devices, self._driver)
            except Exception as error:
                log.warning("The %s probe broke and is skipped: %s", name, error)
        self._report(devices)
        return devices

    def _is_wanted(self, device: Device) -> bool:
        """Integrated GPUs are slower than they look, except Apple's and NVIDIA's; OLLAMA_IGPU_ENABLE has the last
        word on all but Apple's."""
        if not device.is_integrated or device.library == "Metal":
            return True
        choice = self.environ.get("OLLAMA_IGPU_ENABLE", "").strip().strip("\"'")
        if choice:
            return choice.lower() not in ("0", "f", "false")
        if device.library == "CUDA":
            return True
        log.info("dropping integrated GPU; to enable, set OLLAMA_IGPU_ENABLE=1: %s", device.description or device.name)
        return False

    def _warn_of_overrides(self) -> None:
        overrides = {name: self.environ[name] for name in VISIBILITY if self.environ.get(name)}
        for name, value in overrides.items():
            log.warning("user overrode visible devices: %s=%s", name, value)
        if overrides:
            log.warning("if GPUs are not correctly discovered, unset and try again")

    def _report(self, devices: tuple[Device, ...]) -> None:
        for device in devices:
            log.info(
                "inference compute id=%s library=%s compute=%s name=%s description=%r driver=%s pci_id=%s type=%s "
                'total="%.1f GiB" available="%.1f GiB"',
                device.uuid or device.index, device.library, device.compute, device.name, device.description,
                device.driver, device.pci_id, "iGPU" if device.is_integrated else "discrete",
                device.total_bytes / 2**30, device.free_bytes / 2**30,
            )  # fmt: skip
        if not devices:
            memory = self._system_memory()
            log.info(
                'inference compute id=cpu library=cpu total="%.1f GiB" available="%.1f GiB"',
                memory.total_bytes / 2**30, memory.free_bytes / 2**30,
            )  # fmt: skip

    def _measure(self, devices: tuple[Device, ...]) -> Reading:
        system = self._system_memory()
        free, total = {CPU_POOL: system.free_bytes}, {CPU_POOL: system.total_bytes}
        has_cards = any(device.uuid for device in devices)
        cards = {card.uuid: card for card in self._driver.cards()} if has_cards else {}
        for device in devices:
            card = cards.get(device.uuid)
            if card is not None:
                free[device.pool], total[device.pool] = card.free_bytes, card.total_bytes
            else:
                shared = device.is_integrated
                total[device.pool] = min(device.free_bytes, system.total_bytes) if shared else device.free_bytes
        return Reading(free, total)


def listing_command() -> list[str]:
    """The engine's errand that prints its devices."""
    return ENGINE.command("devices")


def add_nvidia_facts(devices: tuple[Device, ...], driver: NvidiaDriver) -> tuple[Device, ...]:
    """Tell CUDA devices which card they are: by PCI address, or else by name and size, in order."""
    if not any(device.library == "CUDA" for device in devices):
        return devices
    cards = driver.cards()
    if driver.reason:
        log.info("%s", driver.reason)
    return tuple(_with_card(device, cards) if device.library == "CUDA" else device for device in devices)


def _with_card(device: Device, cards: list[Card]) -> Device:
    """Takes the card out of `cards`."""
    card = next((card for card in cards if _is_same(device, card)), None)
    if card is None:
        return device
    cards.remove(card)
    return replace(
        device,
        uuid=card.uuid,
        compute=card.compute,
        driver=card.driver,
        pci_id=card.pci_id,
        total_bytes=card.total_bytes,
        free_bytes=card.free_bytes,
    )


def _is_same(device: Device, card: Card) -> bool:
    if device.pci_id:
        return device.pci_id == card.pci_id
    return device.description == card.name and abs(device.total_bytes - card.total_bytes) <= 0.05 * card.total_bytes


PROBES: dict[str, Probe] = {"nvidia": add_nvidia_facts}
