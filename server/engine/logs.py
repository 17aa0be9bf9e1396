"""What llama.cpp writes while it works: sizes of its buffers, causes of failures, and lines for the parent's log."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal

from server.engine import bindings
from server.messages.frames import Buffer

DEBUG, INFO, WARN, ERROR, CONTINUED = 1, 2, 3, 4, 5
KEPT_LINES = 400
MIB = 1024 * 1024

_BUFFER = re.compile(r":\s+(\S+)\s+(.*?)\s*buffer size =\s*([0-9.]+) MiB")
_LAYERS = re.compile(r"offloaded (\d+)/(\d+) layers")
_ENCODER = re.compile(r"CLIP using (\S+) backend")
_NOISE = re.compile(r"^(llama_model_load_from_file_impl|llama_model_load|llama_init_from_model|\w+): *")
Kind = Literal["weights", "kv", "compute", "output", "other"]
_KINDS: dict[str, Kind] = {"model": "weights", "LoRA": "weights", "KV": "kv", "RS": "kv", "compute": "compute",
                           "output": "output"}  # fmt: skip
OUT_OF_MEMORY = (
    "out of memory", "out of device memory", "cudamalloc failed", "hipmalloc failed", "failed to allocate",
    "allocation failed", "not enough memory", "insufficient memory", "vk_error_out_of_device_memory",
    "erroroutofmemory",
)  # fmt: skip
HARMLESS = "retrying without pipeline parallelism"  # a smaller attempt follows by itself


def read_buffers(lines: Iterable[str], gpu_names: Iterable[str] = ()) -> tuple[Buffer, ...]:
    """The buffers that a load announced, sizes added up per device and kind."""
    sizes: dict[tuple[str, Kind], float] = {}
    for line in lines:
        match = _BUFFER.search(line)
        if match:
            device, what, mib = match.groups()
            kind = _KINDS.get(what.split(" ")[0], "other")
            sizes[device, kind] = sizes.get((device, kind), 0.0) + float(mib)
    gpus = tuple(gpu_names)
    return tuple(
        Buffer(device=device, kind=kind, bytes=round(mib * MIB), is_gpu=_is_on(device, gpus))
        for (device, kind), mib in sizes.items()
    )


def _is_on(buffer: str, gpus: tuple[str, ...]) -> bool:
    """CUDA0 and MTL0_Mapped are memory of a GPU; CUDA_Host and CPU_Mapped are not."""
    return any(buffer == name or buffer.startswith(f"{name}_") for name in gpus)


def read_offload(lines: Iterable[str]) -> tuple[int, int]:
    """(layers on GPUs, layers in all); (0, 0) when nothing was said."""
    for line in lines:
        match = _LAYERS.search(line)
        if match:
            return int(match[1]), int(match[2])
    return 0, 0


def read_encoder_device(lines: Iterable[str]) -> str:
    """Where the projector is."""
    return next((match[1] for match in map(_ENCODER.search, lines) if match), "CPU")


def is_out_of_memory(text: str) -> bool:
    lines = [line for line in text.lower().splitlines() if HARMLESS not in line]
    return any(phrase in line for line in lines for phrase in OUT_OF_MEMORY)


def cause(errors: Iterable[str]) -> str:
    """The most telling of the error lines, without the name of the function that printed it."""
    lines = [_NOISE.sub("", line).strip() for line in errors]
    lines = [re.sub(r"^error loading model: *", "", line) for line in lines if line]
    generic = ("failed to load model", "error loading model")
    telling = [line for line in lines if line not in generic and not line.startswith("failed to load model from")]
    return (telling or lines or [""])[0]


class NativeLog:
    """The one log callback of the process.

    While a model loads, every line is kept for `read_buffers` and goes to standard error; afterwards only warnings and
    errors do. A native no-op would save the interpreter a call per line, but would swallow what a GPU says before it
    aborts; on the CPU llama.cpp writes no line per decode.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES * 10)
        self.errors: deque[str] = deque(maxlen=KEPT_LINES)
        self._write = write
        self._lowest = INFO
        self._level = INFO
        self._partial = ""
        self.callback = bindings.llama().llama_log_callback(self._receive)  # ggml keeps the address: so do we

    def install(self) -> None:
        bindings.llama().llama_log_set(self.callback, None)

    def quieten(self) -> None:
        """The load is over: warnings and errors only."""
        self._lowest = WARN
        self.lines.clear()
        self.errors.clear()

    def _receive(self, level: int, text: bytes, _data: object) -> None:
        if level != CONTINUED:
            self._level = level
        if self._level < self._lowest:
            return
        try:
            self._collect(text.decode(errors="replace"))
        except Exception:  # nothing may be raised into native code; a lost line is only a lost line
            self._partial = ""

    def _collect(self, text: str) -> None:
        self._partial += text
        while "\n" in self._partial:
            line, self._partial = self._partial.split("\n", 1)
            if line.strip(" ."):
                self.lines.append(line)
                if self._level >= ERROR:
                    self.errors.append(line)
                self._write(line)
