"""The doors to llama.cpp and ggml: one copy of each library, with types, checked at the start.

Only `llama_cpp.llama_cpp`, the generated ctypes module, is imported. The package's own `__init__` pulls in chat
formats, Jinja and a disk cache (0.8 s), and a second copy of libggml with a registry of its own.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from server.errors import RunnerStartFailed

# bytes, llama.h 0.5.0
EXPECTED_SIZES = {"llama_model_params": 80, "llama_context_params": 160, "llama_batch": 56,
                  "llama_model_quantize_params": 64}  # fmt: skip
EXPECTED_DEFAULTS = {"n_batch": 2048, "n_ubatch": 512, "type_k": 1, "n_outputs_max_per_seq": 1}

POINTER = ctypes.c_void_p
SIZE = ctypes.c_size_t
TEXT = ctypes.c_char_p
SIZE_OUT = ctypes.POINTER(SIZE)

# name -> (library, result, arguments); what the bindings lack
_GGML: dict[str, tuple[str, Any, list[Any]]] = {
    "ggml_backend_load": ("ggml", POINTER, [TEXT]),
    "ggml_backend_dev_count": ("ggml", SIZE, []),
    "ggml_backend_dev_get": ("ggml", POINTER, [SIZE]),
    "ggml_backend_reg_count": ("ggml", SIZE, []),
    "ggml_backend_dev_name": ("ggml-base", TEXT, [POINTER]),
    "ggml_backend_dev_description": ("ggml-base", TEXT, [POINTER]),
    "ggml_backend_dev_type": ("ggml-base", ctypes.c_int, [POINTER]),
    "ggml_backend_dev_memory": ("ggml-base", None, [POINTER, SIZE_OUT, SIZE_OUT]),
    "ggml_backend_dev_get_props": ("ggml-base", None, [POINTER, POINTER]),
}


@cache
def llama() -> Any:
    """The ctypes module of llama.h. Raises RunnerStartFailed where it is missing or of another version."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.submodule_search_locations is None:
        raise RunnerStartFailed("llama-cpp-python is not installed, so no model can be loaded. Install Puna again.")
    package = ModuleType("llama_cpp")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules.setdefault("llama_cpp", package)
    try:
        module = importlib.import_module("llama_cpp.llama_cpp")
    except Exception as error:  # the loader raises whatever it likes: RuntimeError, OSError, AttributeError
        raise RunnerStartFailed(
            f"The llama.cpp libraries could not be loaded: {error}. Install Puna again.", log=repr(error)
        ) from error
    _check(module)
    return module


def _check(module: Any) -> None:
    for name, size in EXPECTED_SIZES.items():
        found = ctypes.sizeof(getattr(module, name))
        if found != size:
            raise RunnerStartFailed(
                f"This copy of llama-cpp-python does not fit: {name} has {found} bytes instead of {size}. "
                "Install Puna again, with exactly the version that it asks for."
            )
    defaults = module.llama_context_default_params()
    for name, value in EXPECTED_DEFAULTS.items():
        found = getattr(defaults, name)
        if found != value:
            raise RunnerStartFailed(
                f"The llama.cpp library does not fit its bindings: {name} reads {found} instead of {value}. "
                "Install Puna again, or unset LLAMA_CPP_LIB_PATH."
            )


def untyped(name: str) -> Any:
    """A second object for the same function of llama.h, to be given cheaper types than the bindings have."""
    return llama()._lib[name]


def library_dir() -> Path:
    """The folder of the libllama in use; every ggml handle must come from here."""
    return Path(llama()._base_path)


def shared_library(folder: Path, name: str) -> Path:
    """The file that the running libllama itself loaded, e.g. libggml.so.0: the wheel holds copies under several names,
    and another copy would be another registry without any backend."""
    if sys.platform == "win32":
        patterns = [f"{name}.dll", f"lib{name}.dll"]
    elif sys.platform == "darwin":
        patterns = [f"lib{name}.[0-9].dylib", f"lib{name}.dylib", f"lib{name}.so"]
    else:
        patterns = [f"lib{name}.so.[0-9]", f"lib{name}.so"]
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            return path
    raise RunnerStartFailed(f"The library {name} is missing from {folder}. Install Puna again.")


@cache
def ggml_library(name: str) -> ctypes.CDLL:
    """A handle of `ggml`, `ggml-base` or `ggml-cpu`."""
    return ctypes.CDLL(str(shared_library(library_dir(), name)))


@cache
def ggml(name: str) -> Any:
    """The typed function `name` of ggml."""
    library, result, arguments = _GGML[name]
    function = getattr(ggml_library(library), name)
    function.restype = result
    function.argtypes = arguments
    return function


@cache
def libc() -> ctypes.CDLL:
    """The C library; on Windows the universal C runtime."""
    return ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
