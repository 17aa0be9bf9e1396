"""Write a model file anew with other number formats. An errand of its own process: a file that llama.cpp cannot read
ends the process that gave it to llama.cpp.

First a line of JSON on standard output, `{"bytes": n}`: how large the tensors will be together. Then it waits for a
line on standard input, so that whoever started it can look at the disk; the end of standard input, now or later, ends
the process. How far it is can be seen from the size of the file it writes.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import threading
from collections.abc import Mapping
from typing import Any

from server.engine import bindings, lifeline
from server.engine.logs import NativeLog, cause
from server.engine.threads import default_threads
from server.errors import InvalidRequest, RunnerError

FILE_TYPES = {"F32": 0, "F16": 1, "Q8_0": 7, "Q4_K_S": 14, "Q4_K_M": 15, "BF16": 32}  # numbers of llama.h
TENSOR_TYPES = {"f16": 1, "q8_0": 8}  # numbers of ggml.h
MIB = 1024 * 1024
ROWS_BYTES = 256 * MIB  # of a tensor, kept in memory at once
_SIZE = re.compile(r"quant size\s*=\s*([0-9.]+) MiB")


def quantize(source: str, target: str, file_type: str, exceptions: Mapping[str, str]) -> None:
    """`exceptions`: patterns of tensor names, and the type that those tensors get instead. Raises InvalidRequest for a
    type that is not offered, RunnerError where llama.cpp gives up."""
    unknown = {file_type} - set(FILE_TYPES) | set(exceptions.values()) - set(TENSOR_TYPES)
    if unknown:
        raise InvalidRequest(f"The number format {', '.join(sorted(unknown))} is not known.")
    lifeline.bind_to_parent()
    lifeline.stand_back()
    log = NativeLog(lambda line: os.write(2, f"{line}\n".encode(errors="replace")))
    log.install()
    work = _Quantization(source, target, file_type, exceptions, log)
    work.run(is_trial=True)
    sys.stdout.write(json.dumps({"bytes": _announced(log)}) + "\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        return
    threading.Thread(target=_watch_parent, daemon=True).start()
    work.run(is_trial=False)


class _Quantization:
    def __init__(self, source: str, target: str, file_type: str, exceptions: Mapping[str, str], log: NativeLog) -> None:
        self._api = bindings.llama()
        self._paths = os.fsencode(source), os.fsencode(target)
        self._file_type = FILE_TYPES[file_type]
        self._log = log
        kind = self._api.llama_model_tensor_override
        rows = [kind(pattern.encode(), TENSOR_TYPES[name]) for pattern, name in exceptions.items()]
        self._overrides = (kind * (len(rows) + 1))(*rows)  # the last one is empty, which ends the list

    def run(self, *, is_trial: bool) -> None:
        """A trial writes nothing and says how large the result would be."""
        params = self._params()
        params.dry_run = is_trial
        if self._api.llama_model_quantize(*self._paths, ctypes.byref(params)):
            why = cause(self._log.errors).removeprefix("failed to quantize: ")
            raise RunnerError(f"The model could not be quantized: {why or 'llama.cpp gave no reason'}.")

    def _params(self) -> Any:
        params = self._api.llama_model_quantize_default_params()
        params.ftype = self._file_type
        params.nthread = default_threads()
        params.allow_requantize = True
        params.max_buf_size = ROWS_BYTES
        params.tt_overrides = self._overrides
        return params


def _announced(log: NativeLog) -> int:
    """What llama.cpp said last of the size, 0 where it said nothing."""
    found = [match for line in log.lines if (match := _SIZE.search(line))]
    return round(float(found[-1][1]) * MIB) if found else 0


def _watch_parent() -> None:
    while sys.stdin.readline():
        pass
    lifeline.die()
