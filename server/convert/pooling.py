"""How the vectors of a text's tokens become one, as sentence-transformers writes it down."""

from __future__ import annotations

from server.convert.folder import Folder
from server.errors import InvalidRequest

# llama.cpp's numbers.
MEAN, CLS, LAST = 1, 2, 3
_FLAGS = {"pooling_mode_mean_tokens": MEAN, "pooling_mode_cls_token": CLS, "pooling_mode_lasttoken": LAST}
_NAMES = {"mean": MEAN, "cls": CLS, "lasttoken": LAST}


def read_pooling(folder: Folder) -> int | None:
    """None where the folder is no sentence-transformers model. Raises InvalidRequest for what llama.cpp cannot do."""
    pooling = None
    for module in folder.json_list("modules.json"):
        kind = str(module.get("type", "")).rpartition(".")[2] if isinstance(module, dict) else ""
        if kind == "Dense":
            raise InvalidRequest("this model puts a dense layer behind its vectors, which cannot be converted")
        if kind == "Pooling":
            pooling = _mode(folder, f"{module.get('path', '')}/config.json")
    return pooling


def _mode(folder: Folder, name: str) -> int:
    settings = folder.json(name)
    modes = [mode for key, mode in _FLAGS.items() if settings.get(key)]
    named = settings.get("pooling_mode")
    if not modes and isinstance(named, str) and named in _NAMES:
        modes = [_NAMES[named]]
    if len(modes) != 1:
        raise InvalidRequest(f"{name} asks for a pooling that cannot be converted; mean, cls and lasttoken can")
    return modes[0]
