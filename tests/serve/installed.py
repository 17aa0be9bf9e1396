"""A running server that has the small models."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterable, Iterator

import pytest

from server.client import Client, file_digest
from tests.golden.server import RunningServer, running_server
from tests.secrets.keychains import NO_KEYCHAIN

SETTINGS = {"OLLAMA_NUM_PARALLEL": "4", "OLLAMA_CONTEXT_LENGTH": "1024"}
FILES = (("m", "scripted.gguf"), ("bare", "bare.gguf"))
VISION = ("vision", "vision.gguf", "vision-mmproj.gguf")


@contextlib.contextmanager
def server_with_models(models: pathlib.Path, *more: tuple[str, ...], **settings: str) -> Iterator[RunningServer]:
    """It has the scripted model as `m`, the one without a chat template as `bare`, and `more` of names and files."""
    with running_server({**SETTINGS, **settings}) as running:
        install(running, models, (*FILES, *more))
        yield running


def install(running: RunningServer, models: pathlib.Path, entries: Iterable[tuple[str, ...]]) -> None:
    """Each is a name and its files."""
    with Client(running.base) as client:
        for name, *files in entries:
            digests = {file: file_digest(models / file) for file in files}
            for file, digest in digests.items():
                client.upload_blob(models / file, digest)
            with client.create({"model": name, "files": digests}) as progress:
                assert list(progress)[-1] == {"status": "success"}


@contextlib.contextmanager
def server_with_keys(models: pathlib.Path, *more: tuple[str, ...], **settings: str) -> Iterator[RunningServer]:
    """The same, where keys are required. Meanwhile this process belongs to the server's own user."""
    required = {"PUNA_REQUIRE_KEY": "1", **NO_KEYCHAIN}
    with running_server({**SETTINGS, **required, **settings}) as running, pytest.MonkeyPatch.context() as environ:
        be_user_of(running, environ)
        install(running, models, (*FILES, *more))
        yield running


def be_user_of(running: RunningServer, environ: pytest.MonkeyPatch) -> None:
    """From now on the home of this process is that of the server."""
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        environ.setenv(name, str(running.home))
    for name in ("XDG_STATE_HOME", "OLLAMA_API_KEY"):
        environ.delenv(name, raising=False)
