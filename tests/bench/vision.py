"""An image of a chat: how long until the answer begins, and what it costs somebody whose answer is being written.

    python -m tests.bench.vision

The other side is llama.cpp's own helper, which evaluates a prompt with its images from end to end in one thread.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import gguf
import numpy as np
from PIL import Image

from server.engine import bindings, cpu
from server.engine.threads import default_threads
from server.messages.frames import Delta, LaunchPlan, Media
from server.messages.options import SamplingOptions
from server.programs import ENGINE
from server.runner import Runner
from tests.bench import shapes

ROUNDS = 5
WIDTH, LAYERS, HEADS, PATCH, SIDE = 768, 12, 12, 16, 384  # an encoder of the usual size: 576 patches, 86 M weights
BESIDE_TOKENS = 200
GREEDY = SamplingOptions(temperature=0)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = shapes.write(folder / "model.gguf", shapes.SMALL)
        projector = write_projector(folder / "projector.gguf", shapes.SMALL.width)
        anyio.run(measure, model, projector)


async def measure(model: pathlib.Path, projector: pathlib.Path) -> None:
    ratios, gaps, again = [], [], []
    async with running(model, projector) as runner:
        await look(runner, picture(0))
        for number in range(1, ROUNDS + 1):
            bare = _bare(model, projector)
            file = picture(number)
            ours = await look(runner, file)
            ratios.append(ours / bare)
            again.append(await look(runner, file) / ours)
            usual, longest = await beside(runner, picture(-number))
            gaps.append(longest / ours)
            print(
                f"  image: bare {bare:.2f} s, here {ours:.2f} s, ratio {ratios[-1]:.2f}; a stream beside it: usually "
                f"{usual * 1000:.0f} ms a token, at most {longest * 1000:.0f} ms"
            )
    print(f"first token behind an image / llama.cpp's own helper: {_spread(ratios)}")
    print(f"the same image again / the first time: {_spread(again)}")
    print(f"longest gap of a stream beside an image / what the image takes: {_spread(gaps)} (1 where it waits)")


@asynccontextmanager
async def running(model: pathlib.Path, projector: pathlib.Path) -> AsyncIterator[Runner]:
    plan = LaunchPlan(model_path=str(model), projector_path=str(projector), context_tokens=2048, slots=2)
    async with anyio.create_task_group() as tasks:
        runner = await Runner.start(plan, task_group=tasks, environ=dict(os.environ))
        try:
            yield runner
        finally:
            await runner.stop()


async def look(runner: Runner, file: bytes) -> float:
    """Seconds to the first token."""
    began = time.perf_counter()
    async for event in runner.generate("w1 w2 w3", media=[Media(place=3, data=file)], sampling=GREEDY, max_tokens=1):
        if isinstance(event, Delta):
            return time.perf_counter() - began
    raise AssertionError("an answer without a token")


async def beside(runner: Runner, file: bytes) -> tuple[float, float]:
    """The median and the longest time between two tokens of a stream while an image is read."""
    gaps: list[float] = []
    is_seen = anyio.Event()

    async def write() -> None:
        last = 0.0
        async for event in runner.generate("w7 w8", sampling=GREEDY, max_tokens=BESIDE_TOKENS):
            now = time.perf_counter()
            if isinstance(event, Delta) and last:
                gaps.append(now - last)
            last = now
            if len(gaps) == 10:
                is_seen.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        await is_seen.wait()
        await look(runner, file)
        tasks.cancel_scope.cancel()
    return statistics.median(gaps[:10]), max(gaps[10:], default=0.0)


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (640, 480), (seed * 37 % 256, seed * 91 % 256, 80)).save(file, "PNG")
    return file.getvalue()


def write_projector(path: pathlib.Path, width: int) -> pathlib.Path:
    """A projector with random weights for a text model of `width`."""
    random = np.random.default_rng(5)
    writer = gguf.GGUFWriter(path, "clip")
    numbers = {
        "embedding_length": WIDTH, "feed_forward_length": 4 * WIDTH, "block_count": LAYERS, "image_size": SIDE,
        "attention.head_count": HEADS, "patch_size": PATCH, "projection_dim": width,
    }  # fmt: skip
    for key, value in numbers.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    writer.add_string("clip.vision.projector_type", "mlp")
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5] * 3)
    writer.add_array("clip.vision.image_std", [0.5] * 3)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)

    def matrix(name: str, *shape: int) -> None:
        scale = int(np.prod(shape[1:])) ** -0.5
        values = random.standard_normal(shape, dtype=np.float32) * scale
        writer.add_tensor(f"{name}.weight", values.astype(np.float16))

    def vector(name: str, size: int, value: float = 0.0) -> None:
        writer.add_tensor(name, np.full(size, value, np.float32))

    def norm(name: str) -> None:
        vector(f"{name}.weight", WIDTH, 1.0)
        vector(f"{name}.bias", WIDTH)

    matrix("v.patch_embd", WIDTH, 3, PATCH, PATCH)
    vector("v.patch_embd.bias", WIDTH)
    matrix("v.position_embd", (SIDE // PATCH) ** 2, WIDTH)
    for layer in range(LAYERS):
        here = f"v.blk.{layer}"
        norm(f"{here}.ln1")
        norm(f"{here}.ln2")
        for name, rows, columns in (
            ("attn_q", WIDTH, WIDTH), ("attn_k", WIDTH, WIDTH), ("attn_v", WIDTH, WIDTH), ("attn_out", WIDTH, WIDTH),
            ("ffn_up", 4 * WIDTH, WIDTH), ("ffn_down", WIDTH, 4 * WIDTH),
        ):  # fmt: skip
            matrix(f"{here}.{name}", rows, columns)
            vector(f"{here}.{name}.bias", rows)
    norm("v.post_ln")
    matrix("mm.0", width, WIDTH)
    vector("mm.0.bias", width)
    matrix("mm.2", width, width)
    vector("mm.2.bias", width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# ---- the other side, in a process of its own -------------------------------------------------------------------------


def _bare(model: pathlib.Path, projector: pathlib.Path) -> float:
    command = [sys.executable, "-m", "tests.bench.vision", str(model), str(projector)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def bare(model_path: str, projector_path: str) -> None:
    """Prints the seconds of the second image: the first one pays for buffers."""
    api = bindings.llama()
    mtmd = importlib.import_module("llama_cpp.mtmd_cpp")
    cpu.load_backends("", None, ENGINE.command())
    api.llama_backend_init()
    model_params = api.llama_model_default_params()
    model = api.llama_model_load_from_file(model_path.encode(), model_params)
    params = api.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 4096, 512, 512, 2
    params.kv_unified = True
    params.n_threads = params.n_threads_batch = default_threads()
    context = api.llama_init_from_model(model, params)
    eye_params = mtmd.mtmd_context_params_default()
    eye_params.n_threads, eye_params.print_timings = default_threads(), False
    eye = mtmd.mtmd_init_from_file(projector_path.encode(), model, eye_params)
    seconds = 0.0
    for sequence, seed in enumerate((1, 2)):
        began = time.perf_counter()
        _evaluate(api, mtmd, context, eye, sequence, picture(seed))
        seconds = time.perf_counter() - began
    print(seconds)


def _evaluate(api: Any, mtmd: Any, context: int, eye: int, sequence: int, file: bytes) -> None:
    buffer = (ctypes.c_uint8 * len(file)).from_buffer_copy(file)
    bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(eye, buffer, len(file), False)
    prompt = b"w1 <__media__>w2 w3"
    text = mtmd.mtmd_input_text(prompt, len(prompt), True, True)
    chunks = mtmd.mtmd_input_chunks_init()
    if mtmd.mtmd_tokenize(eye, chunks, ctypes.byref(text), (ctypes.c_void_p * 1)(bitmap), 1):
        raise SystemExit("mtmd_tokenize failed")
    end = api.llama_pos(0)
    if mtmd.mtmd_helper_eval_chunks(eye, context, chunks, 0, sequence, 512, True, ctypes.byref(end)):
        raise SystemExit("mtmd_helper_eval_chunks failed")
    api.llama_get_logits_ith(context, -1)[0]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} (from {min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    if len(sys.argv) == 3:
        bare(*sys.argv[1:])
    else:
        main()
