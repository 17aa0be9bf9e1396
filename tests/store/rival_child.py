"""A program that changes a model folder while others do the same. Arguments: the folder, and a number that decides what
it does. It prints how many of its changes succeeded."""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

from server.errors import InvalidRequest, ModelNotFound, NotImplementedYet, StoreError
from server.messages.names import ModelName
from server.store import CreateRequest, Store
from tests.store.gguf_builder import small_model


def check_whole(store: Store) -> None:
    """Every model that is listed has all its blobs, with the right content."""
    for model in store.list():
        for digest in model.manifest.digests:
            content = store.blobs.path(digest).read_bytes()
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest, f"{model.name} lacks {digest}"
        assert model.gguf is not None
        assert model.size == sum(store.blobs.path(layer.digest).stat().st_size for layer in model.manifest.layers) + (
            store.blobs.path(model.manifest.config.digest).stat().st_size
        )


def work(store: Store, seed: int) -> int:
    """Random changes of a few names; how many of them succeeded."""
    chance = random.Random(seed)
    names = [ModelName.parse(text) for text in ("a", "b", "me/c", "me/d:2")]
    succeeded = 0
    for _ in range(40):
        first, second = chance.sample(names, 2)
        try:
            kind = chance.randrange(4)
            if kind == 0:
                digest, _ = store.blobs.write(small_model().encoded())
                request = {"model": first.short, "files": {"x.gguf": digest}, "system": str(chance.randrange(3))}
                store.create(CreateRequest.read(request), lambda _: None)
            elif kind == 1:
                request = {"model": first.short, "from": second.short, "template": str(chance.randrange(3))}
                store.create(CreateRequest.read(request), lambda _: None)
            elif kind == 2:
                store.copy(first, second)
            else:
                store.delete(first)
            succeeded += 1
        except (ModelNotFound, NotImplementedYet, StoreError, InvalidRequest):
            pass  # the other one was faster
        with store.changing():
            check_whole(store)
    return succeeded


if __name__ == "__main__":
    sys.stdout.write(str(work(Store(Path(sys.argv[1])), int(sys.argv[2]))))
