"""A small matrix product with one CPU library, in a process that may die of it.

Every kind of weight is multiplied in every kind of buffer that the library offers (plain, repacked, AMX), by one row
and by many: the kernels differ, and only the tiled ones touch the instructions that kernels forbid.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from server.engine import bindings
from server.errors import RunnerStartFailed

WEIGHT_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "q4_K": 12, "bf16": 30}
INNER, OUTER, ROWS = 256, 64, (1, 33)
ARENA_BYTES = 1 << 20
STATUS_SUCCESS = 0
F32 = 0


class _InitParams(ctypes.Structure):
    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


_P, _I = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_init": (_P, [_InitParams]),
    "ggml_free": (None, [_P]),
    "ggml_new_tensor_2d": (_P, [_P, ctypes.c_int, _I, _I]),
    "ggml_mul_mat": (_P, [_P, _P, _P]),
    "ggml_new_graph": (_P, [_P]),
    "ggml_build_forward_expand": (None, [_P, _P]),
    "ggml_nbytes": (ctypes.c_size_t, [_P]),
    "ggml_backend_alloc_ctx_tensors_from_buft": (_P, [_P, _P]),
    "ggml_backend_buffer_free": (None, [_P]),
    "ggml_backend_tensor_set": (None, [_P, _P, ctypes.c_size_t, ctypes.c_size_t]),
    "ggml_backend_dev_init": (_P, [_P, ctypes.c_char_p]),
    "ggml_backend_dev_buffer_type": (_P, [_P]),
    "ggml_backend_dev_supports_op": (ctypes.c_bool, [_P, _P]),
    "ggml_backend_dev_backend_reg": (_P, [_P]),
    "ggml_backend_reg_get_proc_address": (_P, [_P, ctypes.c_char_p]),
    "ggml_backend_graph_compute": (ctypes.c_int, [_P, _P]),
}


class _Base:
    """The functions of libggml-base by name."""

    def __init__(self) -> None:
        library = bindings.ggml_library("ggml-base")
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name.removeprefix("ggml_"), function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def try_library(library: str) -> int:
    """Multiply, and return how many products were computed. Raises RunnerStartFailed where the file will not load."""
    bindings.llama()
    if not bindings.ggml("ggml_backend_load")(os.fsencode(library)):
        raise RunnerStartFailed(f"{library} cannot be loaded on this processor.")
    base = _Base()
    device = bindings.ggml("ggml_backend_dev_get")(0)
    backend = base.backend_dev_init(device, None)
    buffers = [base.backend_dev_buffer_type(device), *_extra_buffer_types(base, device)]
    return sum(
        _product(base, device, backend, buffer, weight, rows)
        for buffer in buffers
        for weight in WEIGHT_TYPES.values()
        for rows in ROWS
    )


def _extra_buffer_types(base: Any, device: int) -> list[int]:
    """Where the library keeps weights in another order than the file has them."""
    registry = base.backend_dev_backend_reg(device)
    address = base.backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
    if not address:
        return []
    listed = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(address)(device)
    found: list[int] = []
    while listed and listed[len(found)]:
        found.append(int(listed[len(found)]))
    return found


def _product(base: Any, device: int, backend: int, buffer_type: int, weight_type: int, rows: int) -> int:
    """1 when weights of this type in this kind of buffer were multiplied, 0 when the library does not offer it."""
    weights_arena = base.init(_InitParams(ARENA_BYTES, None, True))
    other_arena = base.init(_InitParams(ARENA_BYTES, None, True))
    weights = base.new_tensor_2d(weights_arena, weight_type, INNER, OUTER)
    held = [base.backend_alloc_ctx_tensors_from_buft(weights_arena, buffer_type)]
    inputs = base.new_tensor_2d(other_arena, F32, INNER, rows)
    product = base.mul_mat(other_arena, weights, inputs)
    done = 0
    if held[0] and base.backend_dev_supports_op(device, product):
        graph = base.new_graph(other_arena)
        base.build_forward_expand(graph, product)
        held.append(base.backend_alloc_ctx_tensors_from_buft(other_arena, base.backend_dev_buffer_type(device)))
        for tensor in (weights, inputs):
            size = base.nbytes(tensor)
            base.backend_tensor_set(tensor, bytes(size), 0, size)
        if base.backend_graph_compute(backend, graph) != STATUS_SUCCESS:
            raise RunnerStartFailed("The CPU library reported a failed computation.")
        done = 1
    for buffer in filter(None, held):
        base.backend_buffer_free(buffer)
    base.free(weights_arena)
    base.free(other_arena)
    return done
