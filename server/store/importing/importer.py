"""The import itself: hash, link, make the model; one after the other, and one that fails keeps no other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from server.errors import Cancelled, FolderMissing, FolderMoving, InvalidRequest, LinkedFileLost, PunaError
from server.messages.chat import Progress
from server.store import digests
from server.store.create_request import CreateRequest
from server.store.files import store_errors
from server.store.gguf_split import join_shards
from server.store.importing.plan import Candidate, Plan, known_names
from server.store.importing.scan import FoundFile
from server.store.links import LinkRecord, hash_file
from server.store.manifest import MODEL

if TYPE_CHECKING:
    from server.store.store import Store

REPORT_BYTES = 64 * 1024 * 1024


class ImportLine(Progress, frozen=True, kw_only=True):
    """A line of progress. A model that is done has a `name` (status "imported" or "known"); a file that was left out
    (status "skipped") and one that failed (status "failed") have a `reason`. The last line, "success", has the names
    of the new `models`."""

    path: str = ""
    name: str = ""
    reason: str = ""
    models: tuple[str, ...] = ()


Report = Callable[[ImportLine], None]


def preview(store: Store, plan: Plan, report: Callable[[int], None] = lambda _read: None) -> list[dict[str, object]]:
    """What an import would take, in the words of the API. A file is hashed only where an installed model has weights
    of just its size. `report` gets bytes read, and may raise Cancelled."""
    known = known_names(store)
    sizes = {layer.size for model in store.list() for layer in model.manifest.layers if layer.media_type == MODEL}
    rows: list[dict[str, object]] = []
    for candidate in plan.candidates:
        digest = "" if candidate.is_split else _cheap_digest(store, candidate.files[0])
        if not digest and not candidate.is_split and candidate.size in sizes:
            digest, _ = hash_file(candidate.files[0].real, report)
        rows.append(candidate.fields(known.get(digest, "")))
    return rows


def _cheap_digest(store: Store, file: FoundFile) -> str:
    """Where it is known without reading: from an earlier import, or from Hugging Face's name for the file."""
    record = store.links.record_of_file(file.real, os.stat(file.real))
    if record is not None:
        return record.digest
    name = file.real.name
    is_cached = file.real.parent.name == "blobs" and digests.is_digest(f"sha256:{name}")
    return digests.normal(f"sha256:{name}") if is_cached else ""


def import_files(
    store: Store,
    plan: Plan,
    report: Report,
    *,
    join: bool = False,
    check_template: Callable[[str], object] = lambda _text: None,
) -> None:
    """Make a model of every candidate. `join` allows to copy models in parts, which cannot be linked as one file.
    Raises Cancelled from `report`, and PunaErrors that would befall every file; others are reported."""
    for file in plan.skipped:
        report(ImportLine(status="skipped", path=str(file.path), reason=file.reason))
    models: list[str] = []
    for candidate in plan.candidates:
        try:
            models += _Import(store, report, check_template).run(candidate, join)
        except (Cancelled, FolderMissing, FolderMoving):
            raise
        except PunaError as error:
            report(ImportLine(status="failed", path=str(candidate.path), reason=str(error)))
    report(ImportLine(status="success", models=tuple(models)))


class _Import:
    """One model on its way into the store."""

    def __init__(self, store: Store, report: Report, check_template: Callable[[str], object]) -> None:
        self._store = store
        self._report = report
        self._check_template = check_template

    def run(self, candidate: Candidate, join: bool) -> list[str]:
        """The name of the new model, where it is one. Raises PunaErrors."""
        path = str(candidate.path)
        if candidate.is_split and not join:
            count, size = len(candidate.files), candidate.size
            raise InvalidRequest(
                f"this model is in {count} parts, which must be joined into a copy of {size} bytes; import it with "
                "--join to allow that"
            )
        with self._store.blobs.gate.visit():
            digest = self._joined(candidate) if candidate.is_split else self._linked(candidate.files[0])
            known = "" if candidate.is_named else known_names(self._store).get(digest, "")
            if known:
                self._report(ImportLine(status="known", path=path, name=known, digest=digest))
                return []
            files = {"model.gguf": digest}
            if candidate.projector is not None:
                files["projector.gguf"] = self._linked(candidate.projector)
            request = CreateRequest(model=candidate.name.full, files=files)
            self._store.create(request, lambda _progress: None, check_template=self._check_template)
        self._report(ImportLine(status="imported", path=path, name=candidate.name.short, digest=digest))
        return [candidate.name.short]

    def _linked(self, file: FoundFile) -> str:
        """The digest of a file that is a blob now, which it may have been before."""
        with store_errors("read the model file"):
            known = self._store.links.record_of_file(file.real, file.real.stat())
            digest, status = (known.digest, file.real.stat()) if known else self._hashed(file)
        blob = self._store.blobs.path(digest)
        if self._is_sound(blob, status.st_size):
            return digest
        record = LinkRecord(
            digest=digest,
            path=str(file.path),
            target=str(file.real),
            size=status.st_size,
            modified_ns=status.st_mtime_ns,
            inode=status.st_ino,
        )
        self._store.links.make(blob, record)
        return digest

    def _hashed(self, file: FoundFile) -> tuple[str, os.stat_result]:
        path = str(file.path)
        told = 0

        def tell(read: int) -> None:
            nonlocal told
            if read - told >= REPORT_BYTES:
                told = read
                self._report(ImportLine(status="reading", path=path, total=file.size, completed=read))

        self._report(ImportLine(status="reading", path=path, total=file.size))
        return hash_file(file.real, tell)

    def _is_sound(self, blob: Path, size: int) -> bool:
        """Whether there is a blob already that is no link, or one to a file that is as it was."""
        try:
            self._store.links.check(blob, size, blob.name)
        except LinkedFileLost:
            return False
        return blob.is_file() and blob.stat().st_size == size

    def _joined(self, candidate: Candidate) -> str:
        path = str(candidate.path)
        told = 0

        def tell(written: int, total: int) -> None:
            nonlocal told
            if written - told >= REPORT_BYTES:
                told = written
                self._report(ImportLine(status="joining the parts", path=path, total=total, completed=written))

        self._report(ImportLine(status="joining the parts", path=path, total=candidate.size))
        self._store.blobs.check_space(candidate.size)
        with store_errors("join the parts of the model"):
            return join_shards(self._store.blobs, [file.header for file in candidate.files if file.header], tell)
