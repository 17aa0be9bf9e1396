"""A llama_context for many streams over one unified KV, and the calls that its owner thread makes."""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from server.engine import bindings
from server.engine.batch import Batch, RowBatch
from server.engine.logs import NativeLog
from server.engine.model import Model, load_failure
from server.errors import OutOfMemory, RunnerDied, RunnerStartFailed
from server.messages.frames import LaunchPlan

Logits = npt.NDArray[np.float32]
GGML_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30}
FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
CONTEXT_PADDING = 256
MOST_TEXTS = 64  # in one embedding batch
MOST_TOKENS = 1 << 30

POOLING_NONE, POOLING_MEAN, POOLING_CLS, POOLING_LAST, POOLING_RANK = 0, 1, 2, 3, 4
WHOLE_TEXT = (POOLING_MEAN, POOLING_CLS, POOLING_LAST)
DECODED, NO_ROOM, ABORTED, INVALID = 0, 1, 2, -1  # what llama_decode returns; below INVALID is fatal


class Context:
    """Owned by one thread, except `abort`, which any thread may call."""

    def __init__(self, model: Model, plan: LaunchPlan, threads: int, log: NativeLog) -> None:
        self._api = bindings.llama()
        self._model = model
        params = self._params(plan, threads)
        self._install_abort(params)
        self.handle: int = self._api.llama_init_from_model(model.handle, params) or 0
        if not self.handle:
            raise load_failure(f"The context of {plan.context_tokens} tokens could not be created", log)
        self._memory: int = self._api.llama_get_memory(self.handle) or 0
        self.capacity_tokens: int = self._api.llama_n_ctx(self.handle)
        self.batch_tokens: int = self._api.llama_n_batch(self.handle)
        self.slots: int = self._api.llama_n_seq_max(self.handle)
        self.has_memory = bool(self._memory)
        self.pooling: int = self._api.llama_pooling_type(self.handle) if plan.embedding else POOLING_NONE
        self._vector_address = bindings.untyped("llama_get_embeddings_seq")
        self._vector_address.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        self._vector_address.restype = ctypes.c_void_p
        self.can_shift = bool(self._memory and self._api.llama_memory_can_shift(self._memory))
        self._logits_address = bindings.untyped("llama_get_logits")
        self._logits_address.argtypes, self._logits_address.restype = [ctypes.c_void_p], ctypes.c_void_p
        self._decode = self._api.llama_decode
        self._rows: dict[int, Logits] = {}
        self._adapters: list[Any] = []
        self._apply_adapters(plan, log)

    def _params(self, plan: LaunchPlan, threads: int) -> Any:
        if plan.kv_type.lower() not in GGML_TYPES:
            raise RunnerStartFailed(
                f'The KV cache type "{plan.kv_type}" is unknown; use one of {", ".join(GGML_TYPES)}.'
            )
        params = self._api.llama_context_default_params()
        wanted = max(plan.context_tokens, 1) * plan.slots
        if wanted > MOST_TOKENS:
            raise OutOfMemory(f"A context of {wanted} tokens is more than any memory holds. Lower num_ctx.")
        params.n_ctx = -(-wanted // CONTEXT_PADDING) * CONTEXT_PADDING
        params.n_batch = params.n_ubatch = max(plan.batch_tokens, plan.slots)
        params.n_seq_max = self._sequences(plan, params.n_batch)
        # Left at 0, it would reserve a row of logits for every token of a batch.
        params.n_outputs_max = params.n_batch if plan.embedding else plan.slots
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = FLASH_ATTENTION[plan.flash_attention]
        params.type_k = params.type_v = GGML_TYPES[plan.kv_type.lower()]
        params.embeddings = plan.embedding
        params.kv_unified = True
        params.swa_full = False
        params.offload_kqv = True
        params.op_offload = True
        params.no_perf = True
        return params

    def _sequences(self, plan: LaunchPlan, batch: int) -> int:
        """A text takes a sequence for one batch. A recurrent model gets its batch cut between sequences, which would
        tear a text apart that has to be pooled whole."""
        if not plan.embedding:
            return plan.slots
        return 1 if self._model.is_recurrent else min(MOST_TEXTS, batch)

    def _install_abort(self, params: Any) -> None:
        """libc's strlen over one byte and its end: 0 goes on, 1 aborts at the next node, without entering Python."""
        self._abort = ctypes.create_string_buffer(2)
        strlen = ctypes.cast(bindings.libc().strlen, ctypes.c_void_p).value
        self._abort_callback = ctypes.cast(ctypes.c_void_p(strlen), self._api.ggml_abort_callback)
        params.abort_callback = self._abort_callback
        params.abort_callback_data = ctypes.addressof(self._abort)

    def _apply_adapters(self, plan: LaunchPlan, log: NativeLog) -> None:
        for path in plan.adapter_paths:
            adapter = self._api.llama_adapter_lora_init(self._model.handle, os.fsencode(path))
            if not adapter:
                raise load_failure(f"The adapter {path} could not be loaded", log)
            self._adapters.append(adapter)
        if self._adapters:
            count = len(self._adapters)
            handles = (self._api.llama_adapter_lora_p_ctypes * count)(*self._adapters)
            scales = (ctypes.c_float * count)(*[1.0] * count)
            if self._api.llama_set_adapters_lora(self.handle, handles, count, scales) != 0:
                raise load_failure("The adapters do not fit the model", log)

    # ---- the owner thread ------------------------------------------------------------------------------------------

    def decode(self, batch: Batch | RowBatch) -> int:
        """Run one batch. Returns what llama_decode returned."""
        return int(self._decode(self.handle, batch.ready()))

    def set_causal(self, is_causal: bool) -> None:
        """Whether a row of the next batches sees only those before it."""
        self._api.llama_set_causal_attn(self.handle, is_causal)

    def logits(self, rows: int) -> Logits:
        """The logits of the batch's outputs in their order, [rows, vocabulary]; a writable view that the next decode
        overwrites."""
        address = self._logits_address(self.handle)
        found = self._rows.get(address)
        if found is None:
            pointer = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
            found = np.ctypeslib.as_array(pointer, (self.slots, self._model.vocabulary.size))
            self._rows = {address: found}
        return found[:rows]

    def vector(self, sequence: int) -> bytes:
        """The pooled vector of a sequence of the last batch, or its scores; waits for it."""
        address = self._vector_address(self.handle, sequence)
        if not address:
            raise RunnerDied("The model gave no vector for a text; the next request starts it again.")
        is_score = self.pooling == POOLING_RANK
        return ctypes.string_at(address, 4 * (self._model.score_count if is_score else self._model.vector_width))

    def synchronize(self) -> None:
        self._api.llama_synchronize(self.handle)

    def set_threads(self, decode: int, batch: int) -> None:
        self._api.llama_set_n_threads(self.handle, decode, batch)

    def remove(self, sequence: int, start: int, end: int) -> bool:
        """Forget positions [start, end); end -1 is the rest. False where this memory cannot."""
        return bool(self._api.llama_memory_seq_rm(self._memory, sequence, start, end))

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Let `target` share the cells of `source`; costs no memory."""
        self._api.llama_memory_seq_cp(self._memory, source, target, start, end)

    def move(self, sequence: int, start: int, end: int, by: int) -> None:
        """Shift positions [start, end) by `by`."""
        self._api.llama_memory_seq_add(self._memory, sequence, start, end, by)

    def first_position(self, sequence: int) -> int:
        return int(self._api.llama_memory_seq_pos_min(self._memory, sequence))

    def last_position(self, sequence: int) -> int:
        return int(self._api.llama_memory_seq_pos_max(self._memory, sequence))

    def clear(self) -> None:
        if self._memory:
            self._api.llama_memory_clear(self._memory, True)

    # ---- any thread ------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Make the running decode return ABORTED soon (on the CPU; GPUs finish what they have)."""
        self._abort[0] = b"\x01"

    def allow(self) -> None:
        self._abort[0] = b"\x00"


class StepGuard:
    """Aborts a running decode when nobody waits for any of its streams any more."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._running: set[int] = set()

    def begin(self, streams: set[int]) -> None:
        with self._lock:
            self._running = streams

    def end(self) -> None:
        """After a decode; the abort byte must be clear before the next one."""
        with self._lock:
            self._running = set()
            self._context.allow()

    def cancel(self, stream: int) -> None:
        """From the thread that reads commands."""
        with self._lock:
            if stream in self._running:
                self._running.discard(stream)
                if not self._running:
                    self._context.abort()
