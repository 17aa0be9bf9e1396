"""A program that moves model folders and is killed at the n-th thing it does to a file.

It reads a list of jobs from standard input, runs each in a process of its own, and prints how each of them ended. In a
job's folder are `old`, the model folder at first, `state`, and later `new`. A finished job writes how many things there
were into `count`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from server.settings import write
from server.settings.file import read_file
from server.store import Store
from server.store.links import Links
from server.store.moving import Mover
from server.store.presence import Presence

TOUCHING = {
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.utime", "os.link", "os.symlink", "os.truncate",
}  # fmt: skip


def opened(folder: Path) -> tuple[Store, Mover]:
    """The store where the settings say it is, as a server would open it."""
    state = folder / "state"
    root = Path(read_file(state / "settings.toml").get("models_dir", str(folder / "old")))
    store = Store(root, links=Links(state / "links.json"), presence=Presence(state / "folders.json"))
    mover = Mover(
        store, state_folder=state, switch=lambda target: write({"models_dir": target}, state / "settings.toml")
    )
    return store, mover


def main() -> None:
    statuses = []
    for job in json.load(sys.stdin):
        pid = os.fork()
        if pid == 0:
            work(job)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    sys.stdout.write(json.dumps(statuses))


def work(job: dict[str, Any]) -> NoReturn:
    try:
        if not job["shares"]:  # as between two disks

            def refuse(*_: object) -> None:
                raise OSError("Invalid cross-device link")

            os.link = refuse  # type: ignore[assignment]
        folder = Path(job["folder"])
        count = kill_at(job["kill_at"])
        store, mover = opened(folder)
        store.prepare()
        mover.finish()
        if store.root != folder / "new":
            mover.move(folder / "new", lambda _: None)
        (folder / "count").write_text(str(count[0]))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def kill_at(number: int) -> list[int]:
    """A counter that goes on."""
    count = [0]

    def hook(event: str, _args: tuple[object, ...]) -> None:
        if event in TOUCHING:
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


if __name__ == "__main__":
    main()
