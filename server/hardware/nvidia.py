"""What NVIDIA's driver knows of its cards: live memory, compute capability, driver version."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Card:
    """`pci_id` is in lower case, such as 0000:01:00.0."""

    uuid: str
    name: str
    pci_id: str
    compute: str
    driver: str
    total_bytes: int
    free_bytes: int


class NvidiaDriver:
    """Reads cards through NVML. `library` is the pynvml module or one that speaks like it; None imports it.

    Every failure is an empty list and a sentence in `reason`: most machines have no such driver.
    """

    def __init__(self, library: Any = None) -> None:
        self.reason = ""
        self._library = library
        self._is_open = False
        self._lock = threading.Lock()

    def cards(self) -> list[Card]:
        """All cards of the machine, whatever CUDA_VISIBLE_DEVICES says. Blocks for some milliseconds."""
        with self._lock:
            try:
                self._open()
                driver = _text(self._library.nvmlSystemGetDriverVersion())
                count = self._library.nvmlDeviceGetCount()
                return [self._card(index, driver) for index in range(count)]
            except Exception as error:  # a foreign library: NVMLError, missing module, missing symbol, wrong version
                self.reason = f"NVIDIA's driver does not answer: {type(error).__name__}: {error}"
                return []

    def process_bytes(self, pid: int) -> dict[str, int]:
        """What a process holds of each card, by uuid. Nothing where the driver does not tell: on some Windows systems,
        and in containers, where it knows processes by other numbers."""
        with self._lock:
            try:
                self._open()
                held: dict[str, int] = {}
                for index in range(self._library.nvmlDeviceGetCount()):
                    handle = self._library.nvmlDeviceGetHandleByIndex(index)
                    for process in self._library.nvmlDeviceGetComputeRunningProcesses(handle):
                        if process.pid == pid and process.usedGpuMemory:
                            held[_text(self._library.nvmlDeviceGetUUID(handle))] = int(process.usedGpuMemory)
                return held
            except Exception as error:  # as above
                self.reason = f"NVIDIA's driver does not tell of processes: {type(error).__name__}: {error}"
                return {}

    def close(self) -> None:
        """Let go of the driver; a later reading opens it again."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                self._library.nvmlShutdown()

    def _open(self) -> None:
        if self._library is None:
            import pynvml

            self._library = pynvml
        if not self._is_open:
            self._library.nvmlInit()
            self._is_open = True

    def _card(self, index: int, driver: str) -> Card:
        nvml = self._library
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        return Card(
            uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
            name=_text(nvml.nvmlDeviceGetName(handle)),
            pci_id=short_pci_id(_text(nvml.nvmlDeviceGetPciInfo(handle).busId)),
            compute=f"{major}.{minor}",
            driver=driver,
            total_bytes=int(memory.total),
            free_bytes=int(memory.free),
        )


def short_pci_id(text: str) -> str:
    """NVML writes the domain with eight digits, everybody else with four."""
    domain, colon, rest = text.lower().partition(":")
    return f"{domain[-4:]}{colon}{rest}"


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
