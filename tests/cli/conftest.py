from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import Program
from tests.client.fake_server import FakeServer, fake_server

# Pseudo-terminals and signals to a group are Unix's.
collect_ignore = ["test_cli_session.py", "test_cli_terminal.py"] if sys.platform == "win32" else []


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server() as server:
        yield server


@pytest.fixture
def program(fake: FakeServer, tmp_path: Path) -> Program:
    """`puna` with a home folder of its own and the fake server's address."""
    return Program(tmp_path / "home", fake.url)
