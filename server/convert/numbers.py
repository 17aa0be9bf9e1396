"""Number formats: from what safetensors hold to what GGUF files hold, without a detour through a larger one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

TensorType = Literal["F32", "F16", "BF16"]
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
Array = npt.NDArray[Any]


def converted(values: Array, source: str, target: TensorType) -> Array:
    """`source` is a type of a safetensors file. BF16 is held as 16-bit integers on both sides."""
    if source == target:
        return values
    wide = _bf16_to_f32(values) if source == "BF16" else values.astype("<f4", copy=False)
    if target == "F32":
        return wide
    if target == "BF16":
        return _f32_to_bf16(wide)
    with np.errstate(over="ignore"):  # what F16 cannot hold becomes infinite, as in every other converter
        return wide.astype("<f2")


def _bf16_to_f32(values: Array) -> Array:
    return (values.astype("<u4") << 16).view("<f4")


def _f32_to_bf16(values: Array) -> Array:
    """To the nearest, halves to even; NaNs stay NaNs."""
    bits = values.view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(values), quiet, rounded).astype("<u2")
