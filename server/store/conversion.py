"""The server's side of a conversion: a process of its own makes a GGUF file of uploaded safetensors files.

It is started from the thread that waits for it. A client that leaves is noticed at the next progress, a few times a
second, and the process is killed; it ends by itself when the server does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from server.errors import StoreError, from_kind
from server.messages.chat import Progress
from server.messages.conversion import (
    AdapterBase,
    Converted,
    ConvertEvent,
    ConvertFailed,
    Converting,
    ConvertOrder,
    OutputType,
)
from server.programs import CONVERTER
from server.store.blobs import Blobs
from server.store.errand import Errand, errand
from server.store.files import store_errors

MODEL_STATUS, ADAPTER_STATUS = "converting model", "converting adapter"
WORK_DIGEST = "0" * 19  # what progress on work that has no blob yet is known by

_log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(ConvertEvent)


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
    with store_errors("convert the model"), blobs.workplace() as output:
        order = ConvertOrder(
            files={name: str(path.absolute()) for name, path in files.items()},
            output_path=str(output.absolute()),
            output_type=output_type,
            base=base,
        )
        outcome = _run(order, blobs, report)
        digest, is_new = blobs.adopt(output, outcome.digest)
    for note in outcome.notes:
        _log.warning("%s", note)
        report(Progress(status=f"note: {note}"))
    return digest, is_new


def _status(base: AdapterBase | None) -> str:
    return MODEL_STATUS if base is None else ADAPTER_STATUS


def _run(order: ConvertOrder, blobs: Blobs, report: Callable[[Progress], None]) -> Converted:
    is_sized = False
    with errand(CONVERTER.command(), lambda line: _log.info("converter: %s", line)) as work:
        work.say(msgspec.json.encode(order))
        for event in _events(work):
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
        status, lines = work.last_lines()
    raise StoreError(
        "the process that converted the model ended unexpectedly, perhaps for lack of memory; the log has the details",
        log=f"the converter ended without an outcome (exit status {status}): {' | '.join(lines)}",
    )


def _events(work: Errand) -> Iterator[Converting | Converted | ConvertFailed]:
    """Until the converter says no more."""
    while line := work.answer():
        try:
            yield _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise StoreError("the model could not be converted; the log has the details", log=str(error)) from error
