"""What the process does: one order in, progress and one outcome out."""

from __future__ import annotations

import errno
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from time import monotonic

import msgspec

from server.engine import lifeline
from server.errors import DiskFull, InvalidRequest, PunaError, StoreError
from server.messages.conversion import Converted, ConvertEvent, ConvertFailed, Converting, ConvertOrder

EXIT_OK, EXIT_FAILED = 0, 1
REPORT_SECONDS = 0.25
_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


def main(_words: Sequence[str] = ()) -> int:
    """The exit status. All it needs to know comes by its pipe."""
    lifeline.bind_to_parent()
    lifeline.stand_back()
    orders, events = lifeline.claim_pipes()
    line = _first_line(orders)
    if not line:
        return EXIT_OK
    threading.Thread(target=_watch, args=(orders,), name="lifeline", daemon=True).start()
    progress = Progress(events)
    outcome = _outcome(msgspec.json.decode(line, type=ConvertOrder), progress)
    progress.send(outcome)
    return EXIT_OK if isinstance(outcome, Converted) else EXIT_FAILED


def _outcome(order: ConvertOrder, progress: Progress) -> Converted | ConvertFailed:
    try:
        # Slow to load, and not needed to notice a parent that is gone.
        from server.convert.conversion import convert
        from server.convert.lora import convert_adapter

        return convert(order, progress) if order.base is None else convert_adapter(order, order.base, progress)
    except PunaError as error:
        return _failed(error)
    except MemoryError:
        return _failed(InvalidRequest("there is not enough memory to convert this model"))
    except OSError as error:
        kind = DiskFull if error.errno in _FULL else StoreError
        reason = os.strerror(error.errno) if error.errno else "unknown error"
        message = "" if kind is DiskFull else f"the model could not be converted: {reason}"
        return _failed(kind(message, log=f"{error}"))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        sentence = "this model could not be converted; the log says why. Use a GGUF build of the model"
        return _failed(InvalidRequest(sentence, log=repr(error)))


def _failed(error: PunaError) -> ConvertFailed:
    return ConvertFailed(kind=error.kind, message=str(error), log=error.log)


class Progress:
    """Events to the parent: the first, the last, and a few each second in between."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._sent_at = -REPORT_SECONDS

    def __call__(self, completed: int, total: int) -> None:
        now = monotonic()
        if completed in (0, total) or now - self._sent_at >= REPORT_SECONDS:
            self._sent_at = now
            self.send(Converting(completed=completed, total=total))

    def send(self, event: ConvertEvent) -> None:
        """A parent that does not listen any more is the end."""
        data = memoryview(msgspec.json.encode(event) + b"\n")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            lifeline.die()


def _first_line(descriptor: int) -> bytes:
    """b"" where the input ends before a line does."""
    data = b""
    while b"\n" not in data:
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return b""
        data += piece
    return data.partition(b"\n")[0]


def _watch(descriptor: int) -> None:
    """The end of the input is the end of the parent."""
    while os.read(descriptor, 1 << 12):
        pass
    lifeline.die()
