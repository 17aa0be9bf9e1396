"""The second model of a model that sees or hears: files become rows of embeddings, through llama.cpp's mtmd.

The library is loaded only for a model with a projector. All calls but `load` come from one thread.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from server.engine import bindings, devices, patchwork
from server.engine.context import FLASH_ATTENTION
from server.engine.layout import Offsets, Rows
from server.engine.logs import NativeLog, read_encoder_device
from server.engine.model import Model, load_failure
from server.engine.pictures import Pixels
from server.engine.vocabulary import Tokens
from server.errors import InvalidRequest, RunnerStartFailed
from server.messages.frames import Buffer, LaunchPlan

EXPECTED_SIZE = 96  # bytes of mtmd_context_params
TEXT = 0  # a chunk's type
BAD_SOUND = "A sound could not be read. Puna reads WAV, MP3 and FLAC."
SHORTEST_SOUND_BYTES = 400 * 4  # one window of a spectrum; of less, mtmd makes an end of the process
SHORT_SOUND = "A sound is empty or too short to be heard."


class Chunk:
    """A piece of an image or a sound as mtmd prepared it, pixels and all. `close` frees it early."""

    def __init__(self, api: Any, context: int, handle: int, width: int, sections: int) -> None:
        self._api, self._context, self._handle, self._width = api, context, handle, width
        self.tokens: int = api.mtmd_input_chunk_get_n_tokens(handle)
        self.positions: int = api.mtmd_input_chunk_get_n_pos(handle)
        self.is_causal = not api.mtmd_decode_use_non_causal(context, handle)
        image = api.mtmd_input_chunk_get_tokens_image(handle)
        if image and sections > 1:
            at_0, at_1 = self._places(image, 0), self._places(image, 1)
            self.offsets, self.moves = at_0, at_1 - at_0
        else:
            self.offsets = np.tile(np.arange(self.tokens, dtype=np.int32), (sections, 1))
            self.moves = np.ones_like(self.offsets)

    def _places(self, image: int, first: int) -> Offsets:
        """[4, tokens]: time, row, column and what the model keeps the last section for."""
        found = np.zeros((self.tokens, 4), np.uint32)
        pointer = found.ctypes.data_as(ctypes.POINTER(self._api.mtmd_decoder_pos))
        self._api.mtmd_helper_image_get_decoder_pos(image, first, pointer)
        return np.ascontiguousarray(found[:, [0, 2, 1, 3]].T.astype(np.int32))

    def encode(self) -> Rows | None:
        """The embeddings, [tokens, width]; None where the projector cannot compute them."""
        if self._api.mtmd_encode_chunk(self._context, self._handle) != 0:
            return None
        found = self._api.mtmd_get_output_embd(self._context)
        return np.ctypeslib.as_array(found, (self.tokens, self._width)).copy() if found else None

    def close(self) -> None:
        if self._handle:
            self._api.mtmd_input_chunk_free(self._handle)
            self._handle = 0

    __del__ = close


class Projector:
    """`can_see` images, `can_hear` sounds. `width` is the length of an embedding."""

    def __init__(
        self, model: Model, plan: LaunchPlan, threads: int, log: NativeLog, cache_dir: Path | None = None
    ) -> None:
        if not Path(plan.projector_path).is_file():
            raise RunnerStartFailed(
                f"The projector file {plan.projector_path} is not there. Pull or create the model again."
            )
        self._api = _mtmd()
        self._api.mtmd_helper_log_set(log.callback, None)
        params = self._params(plan, threads)
        with ExitStack() as stack:
            path = Path(plan.projector_path)
            if plan.projector_patches is not None:  # mtmd takes nothing but a path, and reads all of it at once
                path = stack.enter_context(patchwork.written(plan.projector_patches, cache_dir))
            self._context: int = self._api.mtmd_init_from_file(os.fsencode(path), model.handle, params) or 0
        if not self._context:
            raise load_failure(f"The projector {plan.projector_path} could not be loaded", log)
        self.can_see = bool(self._api.mtmd_support_vision(self._context))
        self.can_hear = bool(self._api.mtmd_support_audio(self._context))
        self.width: int = model.input_width
        self._sections = 4 if self._api.mtmd_decode_use_mrope(self._context) else 1
        self._marker: bytes = self._api.mtmd_get_marker(self._context)

        self.buffer = self._weights(plan, log)

    def __repr__(self) -> str:
        return f"<projector: {'sees' if self.can_see else ''} {'hears' if self.can_hear else ''}>"

    def _params(self, plan: LaunchPlan, threads: int) -> Any:
        params = self._api.mtmd_context_params_default()
        gpus = [index for index in plan.device_indices or () if devices.is_gpu(index)]
        params.use_gpu = plan.projector_offload and (plan.device_indices is None or bool(gpus))
        if params.use_gpu and gpus:
            first = gpus[0] if plan.main_gpu is None else gpus[min(plan.main_gpu, len(gpus) - 1)]
            params.device = devices.handle(first)
        params.print_timings = False
        params.n_threads = threads
        params.flash_attn_type = FLASH_ATTENTION[plan.flash_attention]
        if plan.image_min_tokens > 0:
            params.image_min_tokens = plan.image_min_tokens
        return params

    def _weights(self, plan: LaunchPlan, log: NativeLog) -> Buffer:
        """The memory of its weights, which mtmd loads as a whole and does not announce as llama.cpp does."""
        device = read_encoder_device(log.lines)
        is_gpu = device in devices.gpu_names()
        patches = plan.projector_patches
        size = Path(plan.projector_path).stat().st_size if patches is None else patches.size
        return Buffer(device=device, kind="weights", bytes=size, is_gpu=is_gpu)

    def image(self, pixels: Pixels) -> list[Tokens | Chunk]:
        """What stands for an image in a prompt, from left to right. Raises InvalidRequest."""
        data = pixels.data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        with self._bitmap(self._api.mtmd_bitmap_init(pixels.width, pixels.height, data)) as bitmap:
            return self._split(bitmap, "An image could not be prepared for this model.")

    def sound(self, data: bytes) -> list[Tokens | Chunk]:
        """The same for a sound. Raises InvalidRequest for bytes that are none."""
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        with self._bitmap(
            self._api.mtmd_helper_bitmap_init_from_buf(self._context, buffer, len(data), False)
        ) as bitmap:
            if not bitmap or not self._api.mtmd_bitmap_is_audio(bitmap):
                raise InvalidRequest(BAD_SOUND)
            if self._api.mtmd_bitmap_get_n_bytes(bitmap) < SHORTEST_SOUND_BYTES:
                raise InvalidRequest(SHORT_SOUND)
            return self._split(bitmap, "A sound could not be prepared for this model; it may be too short.")

    @contextmanager
    def _bitmap(self, handle: int | None) -> Iterator[int]:
        try:
            yield handle or 0
        finally:
            if handle:
                self._api.mtmd_bitmap_free(handle)

    def _split(self, bitmap: int, failure: str) -> list[Tokens | Chunk]:
        api = self._api
        text = api.mtmd_input_text(self._marker, len(self._marker), False, True)
        chunks = api.mtmd_input_chunks_init()
        try:
            bitmaps = (ctypes.c_void_p * 1)(bitmap)
            if api.mtmd_tokenize(self._context, chunks, ctypes.byref(text), bitmaps, 1) != 0:
                raise InvalidRequest(failure)
            handles = [api.mtmd_input_chunks_get(chunks, at) for at in range(api.mtmd_input_chunks_size(chunks))]
            return [self._part(handle) for handle in handles]
        finally:
            api.mtmd_input_chunks_free(chunks)

    def _part(self, handle: int) -> Tokens | Chunk:
        if self._api.mtmd_input_chunk_get_type(handle) != TEXT:
            copy = self._api.mtmd_input_chunk_copy(handle)
            return Chunk(self._api, self._context, copy, self.width, self._sections)
        count = ctypes.c_size_t(0)
        found = self._api.mtmd_input_chunk_get_tokens_text(handle, ctypes.byref(count))
        return np.array(found[: count.value], np.int32)


def _mtmd() -> Any:
    """The bindings of mtmd. Raises RunnerStartFailed where llama.cpp was built without it."""
    bindings.llama()
    try:
        module = importlib.import_module("llama_cpp.mtmd_cpp")
    except Exception as error:  # the loader raises whatever it likes
        raise RunnerStartFailed(
            "This copy of llama.cpp was built without mtmd, which reads images and sounds. Install Puna again.",
            log=repr(error),
        ) from error
    found = ctypes.sizeof(module.mtmd_context_params)
    if found != EXPECTED_SIZE:
        raise RunnerStartFailed(
            f"This copy of llama-cpp-python does not fit: mtmd_context_params has {found} bytes instead of "
            f"{EXPECTED_SIZE}. Install Puna again, with exactly the version that it asks for."
        )
    return module
