"""The only place that reads the process environment."""

from __future__ import annotations

import os
import sys


def process_environ() -> dict[str, str]:
    """A copy."""
    return dict(os.environ)


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
