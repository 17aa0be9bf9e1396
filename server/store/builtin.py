"""The starter model that comes with the program, installed once."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import ModelNotFound
from server.messages.chat import Progress
from server.store import modelfile, parameters
from server.store.create_request import CreateRequest
from server.store.files import make_folder, store_errors

if TYPE_CHECKING:
    from server.store.store import Store

_log = logging.getLogger(__name__)


def install_builtin(store: Store, path: Path, state_folder: Path, *, name: str, modelfile_text: str) -> bool:
    """Register the GGUF file at `path` under `name`; true where this made a model, false also where there is no file.

    It happens once for each model folder: a marker in `state_folder` remembers it, so that a user who deletes the model
    does not get it back at the next start. `modelfile_text` gives the rest of the model; its FROM is not looked at.
    Raises PunaErrors; a failed installation leaves no marker.
    """
    marker = state_folder / f"builtin-{name}-{_tag(store.root)}"
    if marker.exists():
        return False
    if not path.is_file():
        _log.warning("there is no starter model at %s", path)
        return False
    is_new = not _is_installed(store, name)
    if is_new:
        digest = store.blobs.add_file(path)
        request = request_of(modelfile.parse(modelfile_text), model=name, files={path.name: digest})
        store.create(request, _log_progress)
    with store_errors("remember that the starter model is installed"):
        make_folder(state_folder)
        marker.write_text(f"{store.root}\n", encoding="utf-8")
    return is_new


def carry_markers(state_folder: Path, source: Path, target: Path) -> None:
    """The models have moved: what was installed in the old folder once is not installed in the new one again."""
    with store_errors("remember that the starter model is installed"):
        for marker in state_folder.glob(f"builtin-*-{_tag(source)}"):
            name = marker.name.removesuffix(_tag(source)) + _tag(target)
            marker.with_name(name).write_text(f"{target}\n", encoding="utf-8")


def request_of(parsed: modelfile.Modelfile, *, model: str, files: dict[str, str]) -> CreateRequest:
    """The request that a Modelfile stands for when its FROM is `files`. Raises InvalidModelfile."""
    parameters.check_requires(parsed.last("requires"), parsed.line_of("requires"))
    return CreateRequest(
        model=model,
        files=files,
        template=parsed.last("template"),
        system=parsed.last("system"),
        license=parsed.values("license"),
        parameters=parameters.of_file(parsed),
        messages=[{"role": role, "content": text} for role, text in parsed.messages],
        renderer=parsed.last("renderer"),
        parser=parsed.last("parser"),
        requires=parsed.last("requires"),
    )


def _is_installed(store: Store, name: str) -> bool:
    try:
        store.get(store.resolve(name))
    except ModelNotFound:
        return False
    return True


def _tag(root: Path) -> str:
    return hashlib.sha256(str(root.absolute()).encode()).hexdigest()[:12]


def _log_progress(progress: Progress) -> None:
    _log.debug("starter model: %s", progress.status)
