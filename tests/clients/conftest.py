"""A server for programs that people already have. Its models stay as they are unless a test makes one of its own."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.golden.server import RunningServer
from tests.serve.installed import VISION, server_with_models


@pytest.fixture(scope="module")
def server(models: pathlib.Path) -> Iterator[RunningServer]:
    """The scripted model is `m`, the one that makes vectors `e`, the one that sees `vision`."""
    with server_with_models(models, ("e", "embedding.gguf"), VISION) as running:
        yield running
