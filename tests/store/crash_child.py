"""A program that changes a model folder and is killed at the n-th thing it does to a file.

Arguments: the folder, and n. It prints how many things there were when n is beyond them.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from server.messages.names import ModelName
from server.store import CreateRequest, Store
from tests.store.gguf_builder import small_model

TOUCHING = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.utime"}


def main(root: Path, kill_at: int) -> int:
    store = Store(root)
    store.prepare()
    count = 0

    def hook(event: str, _args: tuple[object, ...]) -> None:
        nonlocal count
        if event in TOUCHING:
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    digest, _ = store.blobs.write(small_model().encoded())
    create(store, model="a", files={"a.gguf": digest}, system="one", template="{{ .Prompt }}")
    create(store, model="a", files={"a.gguf": digest}, system="two", license="MIT")
    create(store, model="b", base="a", parameters={"seed": 1})
    store.delete(ModelName.parse("a"))
    store.copy(ModelName.parse("b"), ModelName.parse("c"))
    store.delete(ModelName.parse("b"))
    return count


def create(store: Store, **fields: object) -> None:
    named = {("from" if key == "base" else key): value for key, value in fields.items()}
    store.create(CreateRequest.read(named), lambda _: None)


if __name__ == "__main__":
    sys.stdout.write(str(main(Path(sys.argv[1]), int(sys.argv[2]))))
