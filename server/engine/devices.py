"""The devices that ggml reports: what a runner may put a model on."""

from __future__ import annotations

import ctypes
from typing import Any

from server.engine import bindings

TYPE_NAMES = ("cpu", "gpu", "igpu", "accel", "meta")
GPU_TYPES = frozenset({"gpu", "igpu"})


class _Caps(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_bool) for name in ("async_", "host_buffer", "buffer_from_host_ptr", "events", "mmap_support")
    )


class _Props(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("caps", _Caps),
    )


def handle(index: int) -> int:
    """The ggml_backend_dev_t of a device by its place in `list_devices`."""
    return int(bindings.ggml("ggml_backend_dev_get")(index))


def is_gpu(index: int) -> bool:
    kind = bindings.ggml("ggml_backend_dev_type")(handle(index))
    return 0 <= kind < len(TYPE_NAMES) and TYPE_NAMES[kind] in GPU_TYPES


def count() -> int:
    return int(bindings.ggml("ggml_backend_dev_count")())


def list_devices() -> list[dict[str, Any]]:
    """Name, description, type (cpu, gpu, igpu, accel), free and total bytes, and the bus id of each device."""
    listed = []
    for index in range(count()):
        props = _Props()
        bindings.ggml("ggml_backend_dev_get_props")(handle(index), ctypes.byref(props))
        listed.append(
            {
                "index": index,
                "name": (props.name or b"").decode(errors="replace"),
                "description": (props.description or b"").decode(errors="replace"),
                "type": TYPE_NAMES[props.type] if props.type < len(TYPE_NAMES) else "other",
                "memory_free": props.memory_free,
                "memory_total": props.memory_total,
                "id": (props.device_id or b"").decode(errors="replace"),
            }
        )
    return listed


def gpu_names() -> frozenset[str]:
    """Names that begin the buffer names of GPUs: CUDA0, MTL0, Vulkan1, …"""
    return frozenset(device["name"] for device in list_devices() if device["type"] in GPU_TYPES)
