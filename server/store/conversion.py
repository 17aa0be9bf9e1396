"""The server's side of a conversion: a process of its own makes a GGUF file of uploaded safetensors files.

It is started from the thread that waits for it. A client that leaves is noticed at the next progress, a few times a
second, and the process is killed; it ends by itself when the server does.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from server.errors import StoreError, from_kind
from server.messages.chat import Progress
from server.messages.conversion import (
    CONVERTER_WORD,
    AdapterBase,
    Converted,
    ConvertEvent,
    ConvertFailed,
    Converting,
    ConvertOrder,
    OutputType,
)
from server.store.blobs import Blobs
from server.store.files import create_temporary, store_errors

MODEL_STATUS, ADAPTER_STATUS = "converting model", "converting adapter"
WORK_DIGEST = "0" * 19  # what progress on work that has no blob yet is known by
KEPT_LINES = 50
LONGEST_EVENT = 1 << 20
PACKAGE_ROOT = Path(__file__).parents[2]  # where `-m server.convert` is found, whatever folder the user is in

_log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(ConvertEvent)


def converter_command() -> list[str]:
    """How a converter is started: a module in a checkout, the same executable with a hidden word in a package."""
    if getattr(sys, "frozen", False):
        return [sys.executable, CONVERTER_WORD]
    return [sys.executable, "-m", "server.convert"]


def convert_files(
    blobs: Blobs,
    files: Mapping[str, Path],
    output_type: OutputType,
    report: Callable[[Progress], None],
    base: AdapterBase | None = None,
) -> tuple[str, bool]:
    """The digest of the GGUF file, which is a blob then, and whether it is new. `files`: names relative to the model's
    folder, and where they lie. With `base` they are an adapter for it. Raises what the converter found wrong, DiskFull,
    StoreError, and what `report` raises."""
    report(Progress(status=_status(base)))
    with store_errors("convert the model"):
        handle, output = create_temporary(blobs.folder)
        os.close(handle)
        try:
            order = ConvertOrder(
                files={name: str(path.absolute()) for name, path in files.items()},
                output_path=str(output.absolute()),
                output_type=output_type,
                base=base,
            )
            outcome = _run(order, blobs, report)
            digest, is_new = blobs.adopt(output, outcome.digest)
        finally:
            output.unlink(missing_ok=True)
    for note in outcome.notes:
        _log.warning("%s", note)
        report(Progress(status=f"note: {note}"))
    return digest, is_new


def _status(base: AdapterBase | None) -> str:
    return MODEL_STATUS if base is None else ADAPTER_STATUS


def _run(order: ConvertOrder, blobs: Blobs, report: Callable[[Progress], None]) -> Converted:
    is_sized = False
    with _converter(order) as (events, lines):
        for event in _events(events):
            if isinstance(event, Converted):
                return event
            if isinstance(event, ConvertFailed):
                raise from_kind(event.kind, event.message, log=event.log)
            if not is_sized:
                blobs.check_space(event.total)
                is_sized = True
            report(
                Progress(status=_status(order.base), digest=WORK_DIGEST, total=event.total, completed=event.completed)
            )
    raise StoreError(
        "the process that converted the model ended unexpectedly, perhaps for lack of memory; the log has the details",
        log=f"the converter ended without an outcome: {' | '.join(lines)}",
    )


def _events(pipe: IO[bytes]) -> Iterator[Converting | Converted | ConvertFailed]:
    """Until the converter closes its end."""
    while line := pipe.readline(LONGEST_EVENT):
        try:
            yield _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise StoreError("the model could not be converted; the log has the details", log=str(error)) from error


@contextmanager
def _converter(order: ConvertOrder) -> Iterator[tuple[IO[bytes], deque[str]]]:
    """A process at work: its events, and the newest lines of its log. Leaving ends it, whatever it does."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS
    process = subprocess.Popen(
        converter_command(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=None if getattr(sys, "frozen", False) else PACKAGE_ROOT,
        creationflags=flags,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    listener = threading.Thread(target=_listen, args=(process.stderr, lines), name="converter log", daemon=True)
    listener.start()
    try:
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.flush()
        yield process.stdout, lines
    finally:
        process.kill()
        process.wait()
        listener.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            _close(pipe)


def _close(pipe: IO[bytes]) -> None:
    with suppress(OSError):  # what was not sent to a process that is gone
        pipe.close()


def _listen(pipe: IO[bytes], lines: deque[str]) -> None:
    for line in pipe:
        text = line.decode(errors="replace").rstrip()
        if text:
            lines.append(text[:4096])
            _log.info("converter: %s", text[:4096])
