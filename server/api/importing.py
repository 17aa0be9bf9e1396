"""`/puna/v1/import`: GGUF files of other programs, registered where they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.types import ASGIApp

from server.api.progress import ProgressAnswer, Report
from server.api.reading import reads
from server.api.requests import ImportRequest
from server.api.responses import json_answer
from server.api.services import services_of
from server.errors import InvalidRequest, NotFound
from server.prompts import gotemplate
from server.settings import process_environ
from server.store import Store
from server.store.importing import SOURCES, Plan, Source, folders, import_files, make_plan, preview


@reads(ImportRequest)
async def import_models(request: Request, asked: ImportRequest) -> ASGIApp:
    paths = await anyio.to_thread.run_sync(_paths, asked)
    store = services_of(request).store
    if asked.dry_run:
        return json_answer(await anyio.to_thread.run_sync(lambda: _previewed(store, _plan(store, asked, paths))))

    def work(report: Report) -> None:
        plan = _plan(store, asked, paths)
        import_files(store, plan, report, join=asked.join, check_template=gotemplate.parse)

    return ProgressAnswer(work, asked.stream)


def _plan(store: Store, asked: ImportRequest, paths: list[Path]) -> Plan:
    return make_plan(store, paths, source=_source(asked.source), name=asked.name)


def _previewed(store: Store, plan: Plan) -> dict[str, Any]:
    skipped = [{"path": str(file.path), "reason": file.reason} for file in plan.skipped]
    return {"models": preview(store, plan), "skipped": skipped}


def _source(text: str) -> Source | None:
    """Raises InvalidRequest."""
    if text and text not in SOURCES:
        raise InvalidRequest(f'"{text}" is no program that models are imported from; known are {", ".join(SOURCES)}')
    return next((source for source in SOURCES if source == text), None)


def _paths(asked: ImportRequest) -> list[Path]:
    """Raises InvalidRequest, NotFound."""
    source = _source(asked.source)
    if relative := [path for path in asked.paths if not Path(path).is_absolute()]:
        raise InvalidRequest(f'"{relative[0]}" must be an absolute path on the server\'s machine')
    if asked.paths:
        return [Path(path) for path in asked.paths]
    if source is None:
        raise InvalidRequest('"paths" or a "source" is required')
    found = folders(source, sys.platform, process_environ(), Path.home())
    if not found:
        raise NotFound(
            f"no folder of {source} was found in its usual places; name the folder in which it keeps its models"
        )
    return found
