"""The other side: llama.cpp and a loop around it that does nothing else. Run as a process of its own.

    python -m tests.bench.bare MODEL.gguf STREAMS TOKENS

Prints tokens per second over all streams, from the first decoded token to the last.
"""

from __future__ import annotations

import ctypes
import sys
import time
from typing import Any

import llama_cpp
import numpy as np

from server.engine import cpu
from server.engine.threads import default_threads
from server.programs import ENGINE

PROMPT_TOKENS = 32


def main(path: str, streams: int, tokens: int) -> None:
    cpu.load_backends("", None, ENGINE.command())
    llama_cpp.llama_backend_init()
    context = _context(path, streams, tokens)
    prompt = np.arange(300, 300 + PROMPT_TOKENS, dtype=np.int32)
    rows = _Rows(max(PROMPT_TOKENS, streams))
    last = np.zeros(streams, dtype=np.int64)
    for stream in range(streams):
        rows.fill(prompt, np.arange(PROMPT_TOKENS), np.full(PROMPT_TOKENS, stream), only_last=True)
        _decode(context, rows)
        last[stream] = _logits(context, 1)[0].argmax()
    sequences = np.arange(streams)
    began = time.perf_counter()
    for step in range(tokens):
        rows.fill(last, np.full(streams, PROMPT_TOKENS + step), sequences, only_last=False)
        _decode(context, rows)
        last = _logits(context, streams).argmax(axis=1)
    print(streams * tokens / (time.perf_counter() - began))


def _context(path: str, streams: int, tokens: int) -> Any:
    model_params = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(path.encode(), model_params)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = streams * (PROMPT_TOKENS + tokens + 1)
    params.n_seq_max = params.n_outputs_max = streams
    params.kv_unified = True
    params.n_threads = params.n_threads_batch = default_threads()
    context = llama_cpp.llama_init_from_model(model, params)
    _Vocabulary.size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    return context


class _Vocabulary:
    size = 0


class _Rows:
    """A llama_batch over arrays."""

    def __init__(self, capacity: int) -> None:
        self.token = np.zeros(capacity, np.int32)
        self.position = np.zeros(capacity, np.int32)
        self.count = np.ones(capacity, np.int32)
        self.sequence = np.zeros(capacity, np.int32)
        self.wanted = np.zeros(capacity, np.int8)
        self.pointers = (self.sequence.ctypes.data + 4 * np.arange(capacity)).astype(np.uint64)
        self.batch = llama_cpp.llama_batch()
        kinds = dict(self.batch._fields_)
        for name, array in (
            ("token", self.token), ("pos", self.position), ("n_seq_id", self.count), ("seq_id", self.pointers),
            ("logits", self.wanted),
        ):  # fmt: skip
            setattr(self.batch, name, array.ctypes.data_as(kinds[name]))

    def fill(self, tokens: Any, positions: Any, sequences: Any, *, only_last: bool) -> None:
        size = len(tokens)
        self.token[:size], self.position[:size], self.sequence[:size] = tokens, positions, sequences
        self.wanted[:size] = 0 if only_last else 1
        self.wanted[size - 1] = 1
        self.batch.n_tokens = size


def _decode(context: Any, rows: _Rows) -> None:
    if llama_cpp.llama_decode(context, rows.batch) != 0:
        raise SystemExit("llama_decode failed")


def _logits(context: Any, rows: int) -> Any:
    pointer = llama_cpp.llama_get_logits(context)
    kind = ctypes.POINTER(ctypes.c_float)
    return np.ctypeslib.as_array(ctypes.cast(pointer, kind), (rows, _Vocabulary.size))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
