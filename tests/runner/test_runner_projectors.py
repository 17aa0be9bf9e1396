"""Every kind of projector that llama.cpp treats in its own way: what our loop makes of a prompt is what llama.cpp's own
program makes of it, token by token."""

from __future__ import annotations

import io
import math
import wave
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image

from server.messages.options import SamplingOptions
from tests.engine import mtmd_reference
from tests.engine.mtmd_reference import MARKER
from tests.models.make.projectors import KINDS, Pair, write
from tests.runner.answers import Answer
from tests.runner.conftest import Running
from tests.runner.test_runner_media import look

pytestmark = pytest.mark.anyio

EARS = ("ultravox", "qwen2audio")
PREDICTED = 8
GREEDY = SamplingOptions(temperature=0, repeat_penalty=1.0)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("projectors")
    return lambda kind: write(folder, kind)


def picture(seed: int, size: tuple[int, int]) -> bytes:
    """Blots, so that no two parts are alike."""
    generator = np.random.default_rng(seed)
    file = io.BytesIO()
    pixels = generator.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def sound(seed: int, seconds: float = 0.5) -> bytes:
    times = np.arange(int(16000 * seconds)) / 16000
    samples = np.sin(times * (400 + 300 * seed)) * 12000
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def media(kind: str) -> tuple[bytes, bytes]:
    if kind in EARS:
        return sound(1), sound(2)
    return picture(1, (90, 60)), sound(2) if kind == "omni" else picture(2, (200, 340))


def agree(answer: Answer, right: mtmd_reference.Reference) -> None:
    assert answer.end.prompt_tokens == right.count
    shifted = right.logits - right.logits.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    assert answer.logprobs
    for place, entry in enumerate(answer.logprobs):
        assert math.isclose(entry.logprob, logarithms[place].max(), abs_tol=5e-2), place
    assert answer.text.strip() == right.text.strip()


@pytest.mark.parametrize("batch", [512, 24])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_answer_is_that_of_llama_cpp(running: Running, pairs: Any, kind: str, batch: int) -> None:
    pair: Pair = pairs(kind)
    files = media(kind)
    prompt = f"<|im_start|>user\nlook {MARKER} and {MARKER} now<|im_end|>\n<|im_start|>assistant\n"
    options = mtmd_reference.Options(predict=PREDICTED, batch=batch, context=4096)
    right = mtmd_reference.compute(pair.model, pair.projector, prompt, files, options)
    async with running(
        str(pair.model), projector_path=str(pair.projector), context_tokens=4096, batch_tokens=batch, slots=1
    ) as runner:
        assert (runner.loaded.can_see, runner.loaded.can_hear) == (right.can_see, right.can_hear)
        answer = await look(runner, prompt, *files, max_tokens=PREDICTED, logprobs=0, sampling=GREEDY)
        agree(answer, right)
        again = await look(runner, prompt, *files, max_tokens=PREDICTED, logprobs=0, sampling=GREEDY)
        assert again.end.cached_tokens >= right.count - 30, "all but the last text comes from the cache"
        agree(again, right)


@pytest.mark.parametrize("kind", KINDS)
async def test_streams_that_share_an_image_agree_too(running: Running, pairs: Any, kind: str) -> None:
    """One beginning for three streams at once, each with a second file of its own or none."""
    pair: Pair = pairs(kind)
    first, second = media(kind)
    begin = f"<|im_start|>user\nlook {MARKER} and "
    prompts = {
        f"{begin}{MARKER} now<|im_end|>\n<|im_start|>assistant\n": (first, second),
        f"{begin}once more {MARKER}<|im_end|>\n<|im_start|>assistant\n": (first, first),
        f"{begin}that is all<|im_end|>\n<|im_start|>assistant\n": (first,),
    }
    options = mtmd_reference.Options(predict=PREDICTED, context=4096)
    async with running(str(pair.model), projector_path=str(pair.projector), context_tokens=4096, slots=3) as runner:
        answers: dict[str, Answer] = {}

        async def one(prompt: str) -> None:
            answers[prompt] = await look(
                runner, prompt, *prompts[prompt], max_tokens=PREDICTED, logprobs=0, sampling=GREEDY
            )

        await one(next(iter(prompts)))
        async with anyio.create_task_group() as tasks:
            for prompt in prompts:
                tasks.start_soon(one, prompt)
    for prompt, files in prompts.items():
        agree(answers[prompt], mtmd_reference.compute(pair.model, pair.projector, prompt, files, options))
