"""The only place that reads the process environment."""

from __future__ import annotations

import os
import re
import sys

# No rows of the table: drivers, llama.cpp and the HTTP client read them themselves.
OTHERS_READ = (
    "OLLAMA_IGPU_ENABLE", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL",
    "GGML_VK_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY",
)  # fmt: skip
# Ollama's, for parts that Puna has not got or does by itself.
NOBODY_READS = (
    "OLLAMA_VULKAN", "OLLAMA_LLM_LIBRARY", "OLLAMA_REMOTES", "OLLAMA_AUTH", "LLAMA_ARG_FIT", "LLAMA_ARG_FIT_TARGET",
)  # fmt: skip
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]*(?=@)")


def process_environ() -> dict[str, str]:
    """A copy."""
    return dict(os.environ)


def variables_of_others() -> dict[str, str]:
    """Variables that count without being settings, "" where they are not set; passwords of proxies are left out."""
    found = {name: os.environ.get(name) or os.environ.get(name.lower(), "") for name in OTHERS_READ}
    return {name: _CREDENTIALS.sub("...", value) for name, value in found.items()}


def variables_without_meaning() -> list[str]:
    """Those that are set, although they change nothing here."""
    return [name for name in NOBODY_READS if os.environ.get(name, "").strip()]


def own_key() -> str:
    """The API key that our programs show to a server: the variable in which clients of Ollama look too. No row of the
    table, because values of settings are logged and shown."""
    return os.environ.get("OLLAMA_API_KEY", "").strip()


def runner_environ() -> dict[str, str]:
    """The environment of runner processes: all of ours, since the drivers of GPUs have variables of their own
    (CUDA_VISIBLE_DEVICES, HSA_OVERRIDE_GFX_VERSION, ...)."""
    return process_environ()


def usual_editor() -> str:
    """The command that edits text where no OLLAMA_EDITOR is set; may hold arguments."""
    for name in ("VISUAL", "EDITOR"):
        if command := os.environ.get(name, "").strip():
            return command
    return "edit" if sys.platform == "win32" else "vi"
