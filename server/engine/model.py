"""Loading a model file. Every failure becomes a sentence; none of them ends the process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.engine import bindings, devices, patchwork
from server.engine.logs import NativeLog, cause, is_out_of_memory
from server.engine.vocabulary import Vocabulary
from server.errors import OutOfMemory, RunnerStartFailed
from server.messages.frames import LaunchPlan

SPLIT_NONE, SPLIT_LAYER = 0, 1
LOAD_PLAIN, LOAD_AUTO = 0, -1
LAZY_OFF = 0


class Model:
    """Weights and vocabulary. `handle` is the llama_model pointer; it lives until the process ends."""

    def __init__(
        self,
        plan: LaunchPlan,
        log: NativeLog,
        on_progress: Callable[[float], None],
        cache_dir: Path | None = None,
    ) -> None:
        api = bindings.llama()
        if not Path(plan.model_path).is_file():
            raise RunnerStartFailed(f"The model file {plan.model_path} is not there. Pull or create the model again.")
        params = api.llama_model_default_params()
        self._kept: list[Any] = []  # what llama.cpp points to
        self._place(plan, params)
        params.load_mode = LOAD_AUTO if plan.use_mmap else LOAD_PLAIN

        def progress(fraction: float, _data: object) -> bool:
            on_progress(fraction)
            return True

        params.progress_callback = api.llama_progress_callback(progress)
        self._kept.append(params.progress_callback)
        self.handle: int = self._load(plan, params, cache_dir) or 0
        if not self.handle:
            raise load_failure(f"The model {plan.model_path} could not be loaded", log)
        self.vocabulary = Vocabulary(self.handle)
        self.train_context_tokens: int = api.llama_model_n_ctx_train(self.handle)
        self.layers: int = api.llama_model_n_layer(self.handle)
        self.input_width: int = api.llama_model_n_embd_inp(self.handle)
        self.vector_width: int = api.llama_model_n_embd_out(self.handle)
        self.score_count: int = api.llama_model_n_cls_out(self.handle)
        self.rerank_template = (api.llama_model_chat_template(self.handle, b"rerank") or b"").decode(errors="replace")
        self.window_tokens: int = max(api.llama_model_n_swa(self.handle), 0)
        self.is_recurrent = bool(api.llama_model_is_recurrent(self.handle) or api.llama_model_is_hybrid(self.handle))
        self.can_generate = bool(
            api.llama_model_has_decoder(self.handle) and not api.llama_model_has_encoder(self.handle)
        )

    def _load(self, plan: LaunchPlan, params: Any, cache_dir: Path | None) -> Any:
        """The handle, None where llama.cpp gave up."""
        api, patches = bindings.llama(), plan.model_patches
        if patches is None:
            return api.llama_model_load_from_file(os.fsencode(plan.model_path), params)
        params.load_mode, params.lazy_mode = LOAD_PLAIN, LAZY_OFF  # there is no file to map
        if not patchwork.can_stream(patches):
            with patchwork.written(patches, cache_dir) as path:
                return api.llama_model_load_from_file(os.fsencode(path), params)
        try:
            with patchwork.stream(patches) as file:
                return api.llama_model_load_from_file_ptr(file, params)
        except OSError as error:
            raise RunnerStartFailed(
                f"The model file {plan.model_path} could not be read: {error.strerror or error}."
            ) from error

    def _place(self, plan: LaunchPlan, params: Any) -> None:
        """Devices and layers: `device_indices` None is every device, () the CPU alone."""
        params.n_gpu_layers = plan.gpu_layers
        if plan.device_indices is not None:
            known = devices.count()
            missing = [index for index in plan.device_indices if not 0 <= index < known]
            if missing:
                raise RunnerStartFailed(f"There is no device {missing[0]}; ggml reports {known} devices.")
            handles = [devices.handle(index) for index in plan.device_indices]
            chosen = (ctypes.c_void_p * (len(handles) + 1))(*handles, None)
            self._kept.append(chosen)
            params.devices = ctypes.addressof(chosen)
        if plan.main_gpu is not None:
            params.split_mode = SPLIT_NONE
            params.main_gpu = plan.main_gpu


def load_failure(sentence: str, log: NativeLog) -> RunnerStartFailed:
    """The error for a load that llama.cpp gave up, with the cause that it printed."""
    why = cause(log.errors)
    details = "\n".join(log.errors)
    if is_out_of_memory(details):
        return OutOfMemory(
            f"{sentence}: there is not enough memory ({why}). Close other programs, choose a smaller model, or lower "
            "its context length (num_ctx).",
            log=details,
        )
    return RunnerStartFailed(f"{sentence}: {why or 'llama.cpp gave no reason'}.", log=details)
