"""The model that comes with the program, so that a first start has somebody to talk to, also with no network."""

from __future__ import annotations

import pathlib

from server.settings import Settings, paths
from server.store import Store

RESOURCES = pathlib.Path(__file__).parents[2] / "resources"
STARTER = RESOURCES / "puna-starter.gguf"
STARTER_MODELFILE = RESOURCES / "puna-starter.Modelfile"


def is_welcome(settings: Settings) -> bool:
    """Whether the starter model is listed without being asked for. A model folder that somebody has chosen may be
    shared with others and holds what its owner put there; there it comes when it is asked for by name."""
    return settings.sources.get("models_dir", "default") == "default"


def install_starter(store: Store) -> bool:
    """Put the starter model into the folder, once in the folder's life; true where it is new."""
    return store.install_builtin(
        STARTER, paths.state_dir(), modelfile_text=STARTER_MODELFILE.read_text(encoding="utf-8")
    )
