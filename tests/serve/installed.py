"""A running server that has the small models."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from server.client import Client, file_digest
from tests.golden.server import RunningServer, running_server

SETTINGS = {"OLLAMA_NUM_PARALLEL": "4", "OLLAMA_CONTEXT_LENGTH": "1024"}
FILES = (("m", "scripted.gguf"), ("bare", "bare.gguf"))


@contextlib.contextmanager
def server_with_models(models: pathlib.Path, *more: tuple[str, str], **settings: str) -> Iterator[RunningServer]:
    """It has the scripted model as `m`, the one without a chat template as `bare`, and `more` of names and files."""
    with running_server({**SETTINGS, **settings}) as running:
        with Client(running.base) as client:
            for name, file in (*FILES, *more):
                digest = file_digest(models / file)
                client.upload_blob(models / file, digest)
                with client.create({"model": name, "files": {file: digest}}) as progress:
                    assert list(progress)[-1] == {"status": "success"}
        yield running
