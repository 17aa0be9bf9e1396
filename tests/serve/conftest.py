from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from server.client import Client
from tests.golden.server import RunningServer
from tests.serve.installed import server_with_models


@pytest.fixture
def server(models: pathlib.Path) -> Iterator[RunningServer]:
    with server_with_models(models) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.base) as client:
        yield client


@pytest.fixture(scope="module")
def shared_server(models: pathlib.Path) -> Iterator[RunningServer]:
    """For tests that neither end it nor change what is installed."""
    with server_with_models(models) as running:
        yield running
