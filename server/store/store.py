"""The model folder: names to models, and everything that changes it.

All functions block and may be called from any thread; `blobs.receive` alone is asynchronous. Other programs may use the
folder at the same time. What they change is noticed at the next call, because every answer begins with a look at the
files.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from server.errors import ModelNotFound, PunaError, StoreError
from server.messages.chat import Progress
from server.messages.names import ModelName
from server.store import builtin, sweep
from server.store.blobs import Blobs
from server.store.create import Creation, Detected
from server.store.create_base import missing_base
from server.store.create_request import CreateRequest
from server.store.files import folder_lock, make_folder, store_errors
from server.store.headers import Headers
from server.store.links import Links
from server.store.manifest import Manifest, decode_manifest
from server.store.manifests import Fingerprint, Manifests
from server.store.model import Model, load_model
from server.store.presence import Presence

STARTER_NAME = "puna-starter"
STARTER_MODELFILE = "FROM puna-starter.gguf\n"

_log = logging.getLogger(__name__)


def _accept(_text: str) -> None:
    """Any template will do."""


class Store:
    """`root` holds `blobs` and `manifests`; both are made when they are first needed. `links` remembers the files of
    other programs that are used in their place, `presence` whether the folder should be there already."""

    def __init__(
        self,
        root: Path,
        *,
        noprune: bool = False,
        blobs: Blobs | None = None,
        links: Links | None = None,
        presence: Presence | None = None,
    ) -> None:
        self.root = root
        self.blobs = blobs or Blobs(root / "blobs")
        self.links = links or Links()
        self.presence = presence or Presence()
        self.blobs.gate.check = self.check_present
        self.manifests = Manifests(root / "manifests", self.blobs.folder)
        self.headers = Headers()
        self.noprune = noprune
        self._models: dict[ModelName, tuple[Fingerprint, Model]] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<store in {self.root}, {len(self._models)} models known>"

    def prepare(self, noprune: bool | None = None, *, now: float | None = None) -> None:
        """At a start: make the folders, rename old blobs, and remove what is unused unless `noprune` says not to.
        Raises StoreError where the folder cannot be made, FolderMissing where one should be there and is not."""
        self.noprune = self.noprune if noprune is None else noprune
        self.check_present()
        with store_errors(f"prepare the model folder {self.root}"):
            make_folder(self.blobs.folder)
            make_folder(self.manifests.folder)
        with self.changing():
            sweep.rename_old_blobs(self.blobs)
            if not self.noprune:
                sweep.remove_unused(self.blobs, self.manifests, self.links, now=now)
        self.presence.remember(self.root)

    def check_present(self) -> None:
        """Raises FolderMissing, in words for the user."""
        self.presence.check(self.root)

    def relocate(self, root: Path) -> None:
        """Go on with the same models in another folder. Call it while changing."""
        with self._lock:
            self.root = root
            self.blobs.folder = root / "blobs"
            self.manifests.relocate(root / "manifests", self.blobs.folder)
            self._models = {}
        self.presence.remember(root)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """One change at a time, over threads and over processes of ours."""
        with self.blobs.gate.visit(), self._lock, contextlib.ExitStack() as stack:
            with store_errors("open the model folder"):
                stack.enter_context(folder_lock(self.root))
            yield

    # ---- looking ---------------------------------------------------------------------------------------------------

    def list(self) -> list[Model]:
        """Newest first by whole seconds, then by name; what cannot be read is left out. Raises FolderMissing."""
        self.check_present()
        models: list[Model] = []
        for name in self.manifests.names():
            try:
                models.append(self.get(name))
            except (ModelNotFound, StoreError) as error:
                _log.debug("%s is not listed: %s", name.full, error.log)
        self._forget_except(models)
        return sorted(models, key=lambda model: (-int(model.modified_at.timestamp()), model.name.short))

    def _forget_except(self, models: Iterable[Model]) -> None:
        kept = {model.name: model for model in models}
        with self._lock:
            self._models = {name: known for name, known in self._models.items() if name in kept}
        paths = {path for model in kept.values() for path in (model.model_path, *model.projector_paths) if path}
        self.headers.forget_except(paths)

    def resolve(self, name_text: str) -> ModelName:
        """The stored spelling of a name, or the name itself where nothing of it is stored. Raises InvalidModelName,
        FolderMissing."""
        self.check_present()
        return self.manifests.resolve(ModelName.parse(name_text))

    def get(self, name: ModelName) -> Model:
        """The model of exactly this spelling. Raises ModelNotFound, also where a part is missing, and StoreError for a
        manifest that is damaged."""
        fingerprint = self.manifests.fingerprint(name)
        known = self._models.get(name)
        if known is not None and known[0] == fingerprint and all(path.is_file() for path in known[1].text_paths):
            return known[1]
        data, fingerprint = self.manifests.read(name)
        model = load_model(name, data, fingerprint, self.blobs, self.headers, self.links)
        with self._lock:
            self._models[name] = (fingerprint, model)
        return model

    # ---- changing --------------------------------------------------------------------------------------------------

    def create(
        self,
        request: CreateRequest,
        report: Callable[[Progress], None],
        *,
        check_template: Callable[[str], object] = _accept,
        detect_template: Callable[[str], Detected | None] = lambda _: None,
    ) -> None:
        """Make or replace a model, telling what is done. Errors that come before the first report are the request's
        status. `check_template` raises a PunaError for a text that is no template; `detect_template` knows the
        names of published ones."""
        with self.blobs.gate.visit():
            Creation(self, request, report, check_template, detect_template).run()

    def missing_base(self, request: CreateRequest, check_template: Callable[[str], object]) -> ModelName | None:
        """The model that `create` would want as the base and that is not installed. Raises what `create` would say of
        the request before it reads anything."""
        Creation(self, request, lambda _: None, check_template, lambda _: None).check()
        return missing_base(self, request)

    def install_builtin(
        self, path: Path, state_folder: Path, *, name: str = STARTER_NAME, modelfile_text: str = STARTER_MODELFILE
    ) -> bool:
        """Register a GGUF file that comes with the program, once for this model folder; true where it is new. A failure
        is logged and no more: nothing depends on this model."""
        try:
            return builtin.install_builtin(self, path, state_folder, name=name, modelfile_text=modelfile_text)
        except PunaError as error:
            _log.warning("the starter model was not installed: %s", error.log)
            return False

    def copy(self, source: ModelName, destination: ModelName) -> None:
        """Another name for the same blobs. Raises ModelNotFound, StoreError."""
        with self.changing():
            source, destination = self.manifests.resolve(source), self.manifests.resolve(destination)
            data, _ = self.manifests.read(source)
            if source.full != destination.full:
                for digest in _needed(data):
                    self.blobs.touch(digest)
                self.manifests.write(destination, data)

    def delete(self, name: ModelName) -> int:
        """The bytes that this freed: those of blobs that no other model needs. A damaged manifest can be deleted too;
        its blobs stay. Raises ModelNotFound, StoreError."""
        with self.changing():
            name = self.manifests.resolve(name)
            needed = _needed(self.manifests.read(name)[0])
            self.manifests.remove(name)
            return self.release(needed)

    def replace(self, name: ModelName, manifest: Manifest) -> None:
        """Write a manifest whose blobs are all there, then let go of what the one before it needed alone. Call it while
        changing."""
        try:
            before = _needed(self.manifests.read(name)[0])
        except ModelNotFound:
            before = frozenset()
        self.manifests.write(name, manifest.encode())
        if not self.noprune:
            self.release(before - manifest.digests)

    def release(self, candidates: Iterable[str]) -> int:
        """Delete those blobs that no manifest names; the bytes freed. Call it while changing."""
        candidates = set(candidates)
        freed = 0
        for digest in candidates - self.manifests.used_digests() if candidates else ():
            try:
                freed += self.blobs.delete(digest)
                self.links.forget(digest)
            except StoreError as error:
                _log.warning("%s stays for now: %s", digest, error.log)
        return freed


def _needed(data: bytes) -> frozenset[str]:
    try:
        return decode_manifest(data).digests
    except StoreError:
        return frozenset()
