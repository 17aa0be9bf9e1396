"""Telling from an engine's words that memory ran out."""

from __future__ import annotations

from server.errors import OutOfMemory, PunaError

_PHRASES = (
    "out of memory",
    "out of device memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "failed to allocate",
    "allocation failed",
    "not enough memory",
    "insufficient memory",
    "vk_error_out_of_device_memory",
    "erroroutofmemory",
)
_HARMLESS = "retrying without pipeline parallelism"  # a smaller attempt follows by itself


def tells_out_of_memory(text: str) -> bool:
    """Whether any line of an engine's output says that memory ran out for good."""
    lines = text.lower().splitlines()
    return any(phrase in line for line in lines if _HARMLESS not in line for phrase in _PHRASES)


def is_out_of_memory(error: PunaError) -> bool:
    return isinstance(error, OutOfMemory) or tells_out_of_memory(f"{error}\n{error.log}")
