"""Chat templates that the field knows by name, for model files that carry one of the published Jinja templates."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import tomllib
from collections.abc import Mapping

import msgspec


class NamedTemplate(msgspec.Struct, frozen=True):
    """`template` is a Go template; `stop` are the texts that end an answer. `published`: the Jinja templates that mean
    it, each as its length in characters and the beginning of its SHA-256."""

    name: str
    template: str
    stop: tuple[str, ...]
    published: tuple[str, ...]


@functools.cache
def templates() -> Mapping[str, NamedTemplate]:
    """All of them by their names."""
    data = tomllib.loads((importlib.resources.files(__name__) / "templates.toml").read_text("utf-8"))
    return {name: msgspec.convert({"name": name, **fields}, NamedTemplate) for name, fields in data.items()}


def detect(jinja_text: str) -> NamedTemplate | None:
    """The one that a model file's own template stands for; None where it is another, and then speaks for itself."""
    key = f"{len(jinja_text)}:{hashlib.sha256(jinja_text.encode()).hexdigest()[:16]}"
    return next((one for one in templates().values() if key in one.published), None)
