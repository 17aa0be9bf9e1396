"""A program that fills a small disk with models, by every way that writes. Arguments: the folder where the disk is, and
that of the test models. It prints, for each attempt, the kind of the failure and its sentence, and whether everything
was as before afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio

from server.errors import PunaError
from server.messages.files import BEGINNING_BYTES
from server.messages.names import ModelName
from server.store import CreateRequest, Store
from server.store.blobs import Blobs
from server.store.local_file import take_file


def main(disk: Path, models: Path) -> None:
    # The disk itself refuses, not our own look at what is free.
    store = Store(disk / "models", blobs=Blobs(disk / "models" / "blobs", free_bytes=lambda _: 10**12))
    store.prepare()
    digest = store.blobs.add_file(models / "scripted.gguf")
    create(store, model="m", files={"s.gguf": digest})
    other = models / "bare.gguf"
    attempts: dict[str, Callable[[], object]] = {
        "upload": lambda: anyio.run(store.blobs.receive, digest_of(other.read_bytes()), pieces(other.read_bytes())),
        "local file": lambda: store.blobs.add_file(other),
        "local file by its name": lambda: take_file(
            store.blobs, other, digest_of(other.read_bytes()[:BEGINNING_BYTES]), lambda *_: None
        ),
        "quantize": lambda: create(store, model="q", quantize="f32", **{"from": "m"}),
    }
    outcomes = {name: attempt(store, act) for name, act in attempts.items()}
    fill(disk / "filler")
    attempts = {
        "create": lambda: create(store, model="n", system="new" * 5000, **{"from": "m"}),
        "replace": lambda: create(store, model="m", system="new" * 5000, **{"from": "m"}),
        "copy": lambda: store.copy(ModelName.parse("m"), ModelName.parse("some/copy")),
    }
    outcomes |= {name: attempt(store, act) for name, act in attempts.items()}
    freed = store.delete(ModelName.parse("m"))
    print(json.dumps({"outcomes": outcomes, "freed": freed, "left": os.listdir(store.blobs.folder)}))


def create(store: Store, **fields: object) -> None:
    store.create(CreateRequest.read(fields), lambda _: None)


def attempt(store: Store, act: Callable[[], object]) -> tuple[str, str, bool]:
    before = state(store)
    try:
        act()
    except PunaError as error:
        return error.kind, str(error), state(store) == before
    return "", "", False


def state(store: Store) -> tuple[list[str], list[str]]:
    return [repr(model) for model in store.list()], sorted(os.listdir(store.blobs.folder))


def fill(path: Path) -> None:
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        return


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65_536):
        yield data[start : start + 65_536]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
