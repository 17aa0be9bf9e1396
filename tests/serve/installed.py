"""A running server that has the small models."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from server.client import Client, file_digest
from tests.golden.server import RunningServer, running_server

SETTINGS = {"OLLAMA_NUM_PARALLEL": "4", "OLLAMA_CONTEXT_LENGTH": "1024"}
FILES = (("m", "scripted.gguf"), ("bare", "bare.gguf"))
VISION = ("vision", "vision.gguf", "vision-mmproj.gguf")


@contextlib.contextmanager
def server_with_models(models: pathlib.Path, *more: tuple[str, ...], **settings: str) -> Iterator[RunningServer]:
    """It has the scripted model as `m`, the one without a chat template as `bare`, and `more` of names and files."""
    with running_server({**SETTINGS, **settings}) as running:
        with Client(running.base) as client:
            for name, *files in (*FILES, *more):
                digests = {file: file_digest(models / file) for file in files}
                for file, digest in digests.items():
                    client.upload_blob(models / file, digest)
                with client.create({"model": name, "files": digests}) as progress:
                    assert list(progress)[-1] == {"status": "success"}
        yield running
