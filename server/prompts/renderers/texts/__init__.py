"""Fixed texts that belong to the vendors' models: one file each, which names its source."""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from collections.abc import Mapping


@functools.cache
def texts(vendor: str) -> Mapping[str, str]:
    """The texts of one vendor by their names, read when they are first needed."""
    return tomllib.loads((importlib.resources.files(__name__) / f"{vendor}.toml").read_text("utf-8"))
