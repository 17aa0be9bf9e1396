"""Which build of ggml's CPU code this processor can run.

A processor may report instructions that the kernel forbids (AMX on virtual machines), so the best score proves
nothing: the candidates are tried in child processes, best first, and the first that survives is kept. The answer is
remembered per processor, microcode, kernel and library.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from server.engine import bindings
from server.errors import RunnerStartFailed

TRIAL_SECONDS = 60.0
CACHE_NAME = "cpu-variants.json"
Trial = Callable[[Path], bool]


def variant_name(library: Path) -> str:
    """`haswell` of libggml-cpu-haswell.so."""
    return library.stem.removeprefix("lib").removeprefix("ggml-cpu-")


def search_folders(library_dir: Path) -> list[Path]:
    """Where builds with loadable backends put them: next to libllama, or in bin/ or lib/ of site-packages or of a
    frozen application."""
    roots = [library_dir, library_dir.parent.parent / "bin", library_dir.parent.parent / "lib"]
    frozen = getattr(sys, "_MEIPASS", "")
    if frozen:
        roots += [Path(frozen), Path(frozen) / "bin", Path(frozen) / "lib"]
    return [folder for folder in dict.fromkeys(roots) if folder.is_dir()]


def backend_libraries(folders: Iterable[Path]) -> list[Path]:
    """All loadable backends, one file per name: libggml-cpu-zen4.so, ggml-cuda.dll, …"""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()):
            name = path.stem.removeprefix("lib")
            is_library = path.suffix in (".so", ".dll", ".dylib")
            if is_library and name.startswith("ggml-") and name != "ggml-base":
                found.setdefault(name, path)
    return list(found.values())


def cpu_variants(libraries: Iterable[Path]) -> list[Path]:
    return [path for path in libraries if path.stem.removeprefix("lib").startswith("ggml-cpu-")]


def score(library: Path) -> int:
    """What ggml itself would rank this variant by; 0 where the processor lacks something or the file will not load."""
    try:
        function = ctypes.CDLL(str(library)).ggml_backend_score
    except (OSError, AttributeError):
        return 0
    function.restype = ctypes.c_int
    return int(function())


def processor_key(variants: Iterable[Path]) -> str:
    """A digest that changes with the processor, its microcode, the kernel and the libraries."""
    facts = [platform.machine(), platform.processor(), platform.system(), platform.release(), platform.version()]
    try:
        first = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n", 1)[0]
        wanted = ("model name", "microcode", "flags", "Features", "CPU part")
        facts += [line for line in first.splitlines() if line.startswith(wanted)]
    except OSError:
        pass  # no such file outside Linux
    for path in variants:
        status = path.stat()
        facts.append(f"{path}:{status.st_size}:{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def remembered(cache_dir: Path | None, key: str) -> str:
    """The variant that survived on this machine before, "" for none."""
    if cache_dir is None:
        return ""
    try:
        found = json.loads((cache_dir / CACHE_NAME).read_text())
        return str(found["variant"]) if found["key"] == key else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def remember(cache_dir: Path | None, key: str, variant: str) -> None:
    """Written whole or not at all; a folder that cannot be written costs the next start a trial, nothing else."""
    if cache_dir is None:
        return
    part = cache_dir / f"{CACHE_NAME}.{os.getpid()}"
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"key": key, "variant": variant}))
        part.replace(cache_dir / CACHE_NAME)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def survives(command: Sequence[str], library: Path) -> bool:
    """Whether a child process that multiplies matrices with `library` ends well. Its death is the answer "no"."""
    try:
        done = subprocess.run(
            [*command, "try-cpu", str(library)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def choose(
    variants: Sequence[Path], cache_dir: Path | None, trial: Trial, rank: Callable[[Path], int] = score
) -> Path | None:
    """The best variant that survives its trial; None where there are no variants (the CPU code is linked in).

    In this order: what was remembered for this very machine; then every variant by falling score, those of score 0
    left out. Raises RunnerStartFailed when none survives.
    """
    if not variants:
        return None
    key = processor_key(variants)
    known = remembered(cache_dir, key)
    for path in variants:
        if known and variant_name(path) == known:
            return path
    scores = {path: rank(path) for path in variants}
    for path in sorted((p for p in variants if scores[p] > 0), key=lambda p: -scores[p]):
        if trial(path):
            remember(cache_dir, key, variant_name(path))
            return path
    raise RunnerStartFailed(
        "No build of the CPU code runs on this processor; every one of them was tried. "
        "Please report this together with the processor's name.",
        log=f"CPU variants tried: {', '.join(variant_name(p) for p in variants)}",
    )


def load_backends(cpu_library: str, cache_dir: Path | None, command: Sequence[str]) -> str:
    """Register every backend of this installation, one CPU variant among them; returns its name, "" if linked in."""
    bindings.llama()
    libraries = backend_libraries(search_folders(bindings.library_dir()))
    variants = cpu_variants(libraries)
    if bindings.ggml("ggml_backend_dev_count")():
        variants = []  # linked in: a second copy would only confuse
    chosen = Path(cpu_library) if cpu_library else choose(variants, cache_dir, lambda path: survives(command, path))
    if chosen is not None and not bindings.ggml("ggml_backend_load")(os.fsencode(chosen)):
        raise RunnerStartFailed(f"The CPU library {chosen} cannot be loaded. Install Puna again.")
    linked = bindings.ggml("ggml_backend_dev_count")() and chosen is None
    for path in libraries:
        if not linked and not path.stem.removeprefix("lib").startswith(("ggml-cpu", "ggml-rpc")):
            bindings.ggml("ggml_backend_load")(os.fsencode(path))
    return variant_name(chosen) if chosen is not None else ""
