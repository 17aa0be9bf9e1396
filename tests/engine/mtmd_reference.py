"""What llama.cpp itself makes of a prompt with images or sounds: the oracle to which the engine is held.

A process of its own loads model and projector and lets mtmd_tokenize and mtmd_helper_eval_chunks do all the work, the
way llama.cpp's own programs do. `compute(...)` starts it; `python -m tests.engine.mtmd_reference` is that process.
"""

from __future__ import annotations

import base64
import ctypes
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from server.engine import bindings, cpu

MARKER = "<__media__>"
SECONDS = 120

# a picture: [height, width, 3] of uint8; a sound: [samples] of float32 at the projector's rate; or a file's bytes
Medium = np.ndarray | bytes


@dataclass(frozen=True)
class Options:
    """`predict`: how many tokens to go on with, the likeliest each; an end-of-turn token ends it and is left out."""

    predict: int = 0
    context: int = 2048
    batch: int = 512
    flash: int = -1  # LLAMA_FLASH_ATTN_TYPE_AUTO
    key_type: int = 1  # GGML_TYPE_F16
    value_type: int = 1
    image_min_tokens: int = -1
    image_max_tokens: int = -1
    add_special: bool = True
    is_unified: bool = True
    slots: int = 1


@dataclass(frozen=True)
class Chunk:
    """`tokens` of a text; `count` tokens and `positions` of any; `width` and `height` of an image in tokens."""

    kind: str  # text, image or audio
    count: int
    positions: int
    tokens: list[int] = field(default_factory=list)
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Reference:
    """`logits` [1 + predicted, vocabulary]: behind the prompt and behind every predicted token. `embeddings`: what the
    projector makes of the images and sounds, one [count, width] each chunk. `end`: the position after the prompt."""

    logits: np.ndarray
    predicted: list[int]
    text: str
    chunks: list[Chunk]
    embeddings: list[np.ndarray]
    end: int
    can_see: bool
    can_hear: bool
    is_mrope: bool
    is_non_causal: bool
    sample_rate: int

    @property
    def count(self) -> int:
        return sum(chunk.count for chunk in self.chunks)


@dataclass(frozen=True)
class Prompt:
    """`text` has MARKER where each of the media belongs; special tokens in it are parsed."""

    text: str
    media: Sequence[Medium] = ()


def compute(
    model: Path, projector: Path, text: str, media: Sequence[Medium] = (), options: Options | None = None
) -> Reference:
    """The reference of one prompt. Raises RuntimeError with llama.cpp's own words where it refuses."""
    return compute_all(model, projector, [Prompt(text, media)], options)[0]


def compute_all(
    model: Path, projector: Path, prompts: Sequence[Prompt], options: Options | None = None
) -> list[Reference]:
    """One after the other by one process, each with an empty cache: half a second, and milliseconds for each."""
    order = {
        "model": str(model), "projector": str(projector), "options": asdict(options or Options()),
        "prompts": [{"text": each.text, "media": [_pack(medium) for medium in each.media]} for each in prompts],
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.mtmd_reference"], input=json.dumps(order), capture_output=True, text=True,
        timeout=SECONDS, cwd=Path(__file__).parents[2], env=os.environ | {"GGML_NO_BACKTRACE": "1"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr or f"the reference ended with {done.returncode}")
    return [_read(found) for found in json.loads(done.stdout)]


def _read(found: dict[str, Any]) -> Reference:
    changed: dict[str, Any] = {
        "chunks": [Chunk(**chunk) for chunk in found["chunks"]],
        "logits": _unpack(found["logits"]),
        "embeddings": [_unpack(each) for each in found["embeddings"]],
    }
    return Reference(**found | changed)


def _pack(medium: Medium) -> dict[str, Any]:
    if isinstance(medium, bytes):
        return {"kind": "file", "data": base64.b64encode(medium).decode()}
    array = np.ascontiguousarray(medium)
    packed = {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}
    return packed | {"type": str(array.dtype), "kind": "image" if array.ndim == 3 else "audio"}


def _unpack(packed: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["data"]), packed["type"]).reshape(packed["shape"])


# ---- in a process of its own -----------------------------------------------------------------------------------------


class Oracle:
    """Model, projector and cache of an order."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.options = Options(**order["options"])
        self.api = bindings.llama()
        self.mtmd = importlib.import_module("llama_cpp.mtmd_cpp")
        self.log = ""
        self._callback = self.api.llama_log_callback(self._receive)
        self.api.llama_log_set(self._callback, None)
        self.mtmd.mtmd_helper_log_set(self._callback, None)
        cpu.load_backends("", None, [sys.executable, "-m", "server.engine"])
        self.api.llama_backend_init()
        self.model = self._load_model()
        self.vocabulary = self.api.llama_model_get_vocab(self.model)
        self.context = self._make_context()
        self.eye = self._load_projector()

    def _receive(self, level: int, text: bytes, data: object) -> None:
        self.log += text.decode(errors="replace")

    def refuse(self, what: str) -> NoReturn:
        raise SystemExit(f"{self.log}\n{what}")

    def _load_model(self) -> Any:
        params = self.api.llama_model_default_params()
        params.n_gpu_layers = 0
        model = self.api.llama_model_load_from_file(self.order["model"].encode(), params)
        return model or self.refuse("the model cannot be loaded")

    def _make_context(self) -> Any:
        params, options = self.api.llama_context_default_params(), self.options
        params.n_ctx, params.n_batch, params.n_ubatch = options.context, options.batch, options.batch
        params.n_seq_max, params.kv_unified = options.slots, options.is_unified
        params.flash_attn_type, params.type_k, params.type_v = options.flash, options.key_type, options.value_type
        params.n_threads = params.n_threads_batch = 1
        return self.api.llama_init_from_model(self.model, params) or self.refuse("there is no context to be had")

    def _load_projector(self) -> Any:
        params = self.mtmd.mtmd_context_params_default()
        params.use_gpu, params.print_timings, params.n_threads, params.warmup = False, False, 1, False
        params.image_min_tokens = self.options.image_min_tokens
        params.image_max_tokens = self.options.image_max_tokens
        made = self.mtmd.mtmd_init_from_file(self.order["projector"].encode(), self.model, params)
        return made or self.refuse("the projector cannot be loaded")

    def bitmap(self, medium: dict[str, Any]) -> Any:
        data = base64.b64decode(medium["data"])
        if medium["kind"] == "file":
            buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
            options = self.mtmd.mtmd_helper_init_opt_default()
            made = self.mtmd.mtmd_helper_bitmap_init_from_buf_wrapper(
                self.eye, buffer, len(data), False, options
            ).bitmap
        elif medium["kind"] == "image":
            height, width, _ = medium["shape"]
            buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
            made = self.mtmd.mtmd_bitmap_init(width, height, buffer)
        else:
            samples = np.frombuffer(data, medium["type"]).astype(np.float32)
            pointer = samples.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            made = self.mtmd.mtmd_bitmap_init_from_audio(len(samples), pointer)
        return made or self.refuse("this is no image and no sound")

    def tokenize(self, prompt: dict[str, Any]) -> Any:
        bitmaps = [self.bitmap(medium) for medium in prompt["media"]]
        given = (ctypes.c_void_p * len(bitmaps))(*bitmaps)
        text = self.mtmd.mtmd_input_text()
        text.text = prompt["text"].encode()
        text.text_len = len(text.text)
        text.add_special, text.parse_special = self.options.add_special, True
        chunks = self.mtmd.mtmd_input_chunks_init()
        code = self.mtmd.mtmd_tokenize(self.eye, chunks, ctypes.byref(text), given, len(bitmaps))
        if code:
            self.refuse(f"mtmd_tokenize gave {code}")
        return chunks

    def describe(self, chunk: Any) -> Chunk:
        kind = ("text", "image", "audio")[self.mtmd.mtmd_input_chunk_get_type(chunk)]
        count = self.mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        positions = self.mtmd.mtmd_input_chunk_get_n_pos(chunk)
        if kind == "text":
            length = ctypes.c_size_t()
            tokens = self.mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(length))
            return Chunk(kind, count, positions, tokens[: length.value])
        if kind == "audio":
            return Chunk(kind, count, positions)
        image = self.mtmd.mtmd_input_chunk_get_tokens_image(chunk)
        width, height = self.mtmd.mtmd_image_tokens_get_nx(image), self.mtmd.mtmd_image_tokens_get_ny(image)
        return Chunk(kind, count, positions, [], width, height)

    def encode(self, chunk: Any, count: int) -> dict[str, Any]:
        if self.mtmd.mtmd_encode_chunk(self.eye, chunk):
            self.refuse("mtmd_encode_chunk failed")
        width = self.api.llama_model_n_embd_inp(self.model)
        values = self.mtmd.mtmd_get_output_embd(self.eye)[: width * count]
        return _pack_floats(np.array(values, np.float32).reshape(count, width))

    def logits(self) -> np.ndarray:
        width = self.api.llama_vocab_n_tokens(self.vocabulary)
        return np.array(self.api.llama_get_logits_ith(self.context, -1)[:width], np.float32)

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        mtmd, api = self.mtmd, self.api
        api.llama_memory_clear(api.llama_get_memory(self.context), True)
        chunks = self.tokenize(prompt)
        pieces = [mtmd.mtmd_input_chunks_get(chunks, n) for n in range(mtmd.mtmd_input_chunks_size(chunks))]
        described = [self.describe(piece) for piece in pieces]
        media = [(piece, seen) for piece, seen in zip(pieces, described, strict=True) if seen.kind != "text"]
        end = api.llama_pos(0)
        code = mtmd.mtmd_helper_eval_chunks(
            self.eye, self.context, chunks, 0, 0, self.options.batch, True, ctypes.byref(end)
        )
        if code:
            self.refuse(f"mtmd_helper_eval_chunks gave {code}")
        logits = [self.logits()]
        predicted: list[int] = []
        while len(predicted) < self.options.predict:
            token = int(logits[-1].argmax())
            if api.llama_vocab_is_eog(self.vocabulary, token):
                break
            predicted.append(token)
            self.decode(token, end.value + len(predicted) - 1)
            logits.append(self.logits())
        return {
            "logits": _pack_floats(np.stack(logits)), "predicted": predicted, "text": self.text(predicted),
            "chunks": [asdict(seen) for seen in described], "end": end.value,
            "embeddings": [self.encode(piece, seen.count) for piece, seen in media],
            "can_see": mtmd.mtmd_support_vision(self.eye), "can_hear": mtmd.mtmd_support_audio(self.eye),
            "is_mrope": mtmd.mtmd_decode_use_mrope(self.eye),
            "is_non_causal": any(mtmd.mtmd_decode_use_non_causal(self.eye, piece) for piece, _ in media),
            "sample_rate": mtmd.mtmd_get_audio_sample_rate(self.eye),
        }  # fmt: skip

    def decode(self, token: int, position: int) -> None:
        batch = self.api.llama_batch_init(1, 0, 1)
        batch.n_tokens = 1
        batch.token[0], batch.pos[0], batch.n_seq_id[0], batch.logits[0] = token, position, 1, True
        batch.seq_id[0][0] = 0
        code = self.api.llama_decode(self.context, batch)
        self.api.llama_batch_free(batch)
        if code:
            self.refuse(f"llama_decode gave {code}")

    def text(self, tokens: list[int]) -> str:
        found = b""
        for token in tokens:
            room = ctypes.create_string_buffer(256)
            length = self.api.llama_token_to_piece(self.vocabulary, token, room, 256, 0, True)
            found += room.raw[: max(length, 0)]
        return found.decode(errors="replace")


def _pack_floats(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "type": "float32", "data": base64.b64encode(array.tobytes()).decode()}


if __name__ == "__main__":
    received = json.load(sys.stdin)
    oracle = Oracle(received)
    json.dump([oracle.run(prompt) for prompt in received["prompts"]], sys.stdout)
