"""An empty store, and models to put into it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from server.messages.chat import Progress
from server.store import CreateRequest, Store

MODELS = Path(__file__).parent.parent / "models"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "models")
    store.prepare()
    return store


@pytest.fixture
def create(store: Store) -> Callable[..., list[str]]:
    """Create from request fields; the status lines."""

    def run(**fields: object) -> list[str]:
        if "base" in fields:
            fields["from"] = fields.pop("base")
        lines: list[Progress] = []
        store.create(CreateRequest.read(fields), lines.append)
        return [line.status for line in lines]

    return run


@pytest.fixture
def upload(store: Store) -> Callable[[bytes], str]:
    """Put bytes into the store; their digest."""

    def put(data: bytes) -> str:
        digest, _ = store.blobs.write(data)
        return digest

    return put


@pytest.fixture
def scripted(upload: Callable[[bytes], str], create: Callable[..., list[str]]) -> str:
    """`m`, made from scripted.gguf; the digest of its weights."""
    data = (MODELS / "scripted.gguf").read_bytes()
    digest = upload(data)
    create(model="m", files={"scripted.gguf": digest})
    assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    return digest
