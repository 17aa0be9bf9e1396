"""Where other programs keep their model files, on each system.

Sources: the documentation and the published code of LM Studio's `lms`, of huggingface_hub and of llama.cpp's download
function, 2024 to 2026.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Literal

Source = Literal["lmstudio", "huggingface", "llama.cpp"]
SOURCES: tuple[Source, ...] = ("lmstudio", "huggingface", "llama.cpp")
Environ = Mapping[str, str]
Find = Callable[[str, Environ, PurePath], list[PurePath]]


def candidates(source: Source, platform: str, environ: Environ, home: PurePath) -> list[PurePath]:
    """All folders that the program may use, the likeliest first, whether they exist or not. `platform` is as
    sys.platform has it. Nothing is read."""
    return _FIND[source](platform, environ, home)


def folders(source: Source, platform: str, environ: Environ, home: Path) -> list[Path]:
    """Those that exist, with the folder that LM Studio's own settings name."""
    found = [Path(path) for path in candidates(source, platform, environ, home)]
    if source == "lmstudio":
        found = [*_lmstudio_choices(home), *found]
    return list(dict.fromkeys(path for path in found if path.is_dir()))


def _lmstudio(platform: str, environ: Environ, home: PurePath) -> list[PurePath]:
    """`.cache/lm-studio` until version 0.3.3, and after it where that was there already."""
    return [home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"]


def _huggingface(platform: str, environ: Environ, home: PurePath) -> list[PurePath]:
    """The first variable that is set decides, as in huggingface_hub."""
    kind = type(home)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := environ.get(name, ""):
            return [_expanded(value, home)]
    if value := environ.get("HF_HOME", ""):
        return [_expanded(value, home) / "hub"]
    cache = kind(environ["XDG_CACHE_HOME"]) if environ.get("XDG_CACHE_HOME") else home / ".cache"
    return [cache / "huggingface" / "hub"]


def _llama_cpp(platform: str, environ: Environ, home: PurePath) -> list[PurePath]:
    kind = type(home)
    if value := environ.get("LLAMA_CACHE", ""):
        return [kind(value)]
    if platform == "win32":
        local = environ.get("LOCALAPPDATA", "")
        return [(kind(local) if local else home / "AppData" / "Local") / "llama.cpp"]
    if platform == "darwin":
        return [home / "Library" / "Caches" / "llama.cpp"]
    cache = kind(environ["XDG_CACHE_HOME"]) if environ.get("XDG_CACHE_HOME") else home / ".cache"
    return [cache / "llama.cpp"]


_FIND: dict[Source, Find] = {"lmstudio": _lmstudio, "huggingface": _huggingface, "llama.cpp": _llama_cpp}


def _expanded(text: str, home: PurePath) -> PurePath:
    kind = type(home)
    return home / text[2:] if text.startswith(("~/", "~\\")) else kind(text)


def _lmstudio_choices(home: Path) -> list[Path]:
    """A pointer file names LM Studio's home where it is another one, the settings in it the folder of the models."""
    homes = [home / ".lmstudio", home / ".cache" / "lm-studio"]
    with contextlib.suppress(OSError, ValueError):
        homes.insert(0, Path((home / ".lmstudio-home-pointer").read_text("utf-8").strip()))
    found: list[Path] = []
    for folder in homes:
        try:
            chosen = json.loads((folder / "settings.json").read_text("utf-8")).get("downloadsFolder")
        except (OSError, ValueError, AttributeError):
            chosen = None
        if isinstance(chosen, str) and chosen:
            found.append(Path(chosen))
        found.append(folder / "models")
    return found
