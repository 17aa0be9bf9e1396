"""Images in prompts, through a real projector. What the model says must be what llama.cpp's own program makes of it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec
import numpy as np
import pytest
from PIL import Image

from server.errors import ContextExceeded, InvalidRequest, RunnerStartFailed, Unsupported
from server.messages.frames import Delta, Grammar, Media
from server.messages.options import SamplingOptions
from server.runner import Runner
from tests.engine import mtmd_reference
from tests.engine.mtmd_reference import MARKER
from tests.runner.answers import Answer, ask
from tests.runner.conftest import Running

pytestmark = pytest.mark.anyio

GREEDY = SamplingOptions(temperature=0)
COLORS = ("red", "green", "blue", "yellow", "black", "white")
IMAGE_TOKENS = 4


def picture(color: str, size: tuple[int, int] = (60, 40), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, kind)
    return file.getvalue()


def turn(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def placed(prompt: str, files: Sequence[bytes]) -> tuple[str, list[Media]]:
    """The prompt without its markers, and what stood there."""
    first, *others = prompt.split(MARKER)
    media = []
    for file, text in zip(files, others, strict=True):
        media.append(Media(place=len(first), data=file))
        first += text
    return first, media


async def look(runner: Runner, prompt: str, *files: bytes, **options: Any) -> Answer:
    text, media = placed(prompt, files)
    options = {"sampling": GREEDY, "max_tokens": 12, **options}
    return await ask(runner, text, media=media, **options)


@pytest.fixture
def seeing(running: Running, models: Path) -> Any:
    def run(**plan: Any) -> Any:
        return running("vision.gguf", projector_path=str(models / "vision-mmproj.gguf"), **plan)

    return run


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("size", [(60, 40), (300, 200)])
async def test_an_image_is_seen_whatever_its_file(seeing: Any, kind: str, size: tuple[int, int]) -> None:
    """native-api 210, 212: described, WebP accepted, image tokens counted."""
    async with seeing() as runner:
        assert runner.loaded.can_see
        assert not runner.loaded.can_hear
        for color in COLORS:
            answer = await look(runner, turn(f"{MARKER}what color"), picture(color, size, kind))
            assert answer.text == color
            assert answer.end.prompt_tokens == 13


async def test_several_images_keep_their_order(seeing: Any) -> None:
    async with seeing() as runner:
        for first, second in [("red", "blue"), ("blue", "red"), ("white", "green")]:
            answer = await look(runner, turn(f"{MARKER}{MARKER}what color"), picture(first), picture(second))
            assert answer.text == f"{first}, {second}"
        many = await look(runner, turn(f"{MARKER * 3}how many images"), *map(picture, COLORS[:3]))
        assert many.text == "three"


@pytest.mark.parametrize(
    ("prompt", "colors"),
    [
        (turn(f"{MARKER}what color"), ("red",)),
        (turn(f"what color {MARKER} first {MARKER}"), ("blue", "yellow")),
        (f"{MARKER}{MARKER} last color", ("green", "blue")),
    ],
)
@pytest.mark.parametrize("batch", [512, 2])
async def test_the_chances_are_those_of_llama_cpp(
    seeing: Any, models: Path, prompt: str, colors: tuple[str, ...], batch: int
) -> None:
    """Also where an image is cut by the batch."""
    files = [picture(color) for color in colors]
    options = mtmd_reference.Options(predict=6)
    right = mtmd_reference.compute(models / "vision.gguf", models / "vision-mmproj.gguf", prompt, files, options)
    async with seeing(batch_tokens=batch, slots=1) as runner:
        answer = await look(runner, prompt, *files, max_tokens=6, logprobs=1)
    assert answer.end.prompt_tokens == right.count
    shifted = right.logits - right.logits.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    best = logarithms.max(axis=1)
    assert answer.logprobs
    for entry, expected in zip(answer.logprobs, best, strict=False):
        assert math.isclose(entry.logprob, expected, abs_tol=2e-2)
    assert answer.text
    assert answer.text == right.text


async def test_a_prompt_may_end_with_an_image(seeing: Any) -> None:
    answers = []
    for batch in (512, 2):
        async with seeing(batch_tokens=batch) as runner:
            for prompt in (f"what color{MARKER}", MARKER):
                answer = await look(runner, prompt, picture("green"), max_tokens=6, logprobs=0)
                assert answer.end.prompt_tokens == await runner.count(prompt.removesuffix(MARKER)) + IMAGE_TOKENS
                answers.append(round(answer.logprobs[0].logprob, 2) if answer.logprobs else None)
    assert answers[:2] == answers[2:]


async def test_the_next_turn_finds_the_image_in_the_cache(seeing: Any) -> None:
    async with seeing() as runner:
        red = picture("red")
        prompt = turn(f"{MARKER}what color")
        first = await look(runner, prompt, red)
        again = prompt + first.text + "<|im_end|>\n" + turn("how many images")
        second = await look(runner, again, red)
        assert second.end.cached_tokens >= first.end.prompt_tokens
        other = await look(runner, again, picture("blue"))
        assert other.end.cached_tokens < 3 + IMAGE_TOKENS  # nothing from the image on
        whole = await look(runner, again, red, use_cache=False)
        assert (whole.end.cached_tokens, whole.text) == (0, second.text)


async def test_a_beginning_with_an_image_is_shared_between_streams(seeing: Any) -> None:
    async with seeing(slots=3) as runner:
        red = picture("red")
        first = await look(runner, turn(f"{MARKER}what color"), red)
        assert first.text == "red"
        answers: dict[str, Answer] = {}

        async def one(text: str) -> None:
            answers[text] = await look(runner, turn(f"{MARKER}{text}"), red)

        async with anyio.create_task_group() as tasks:
            for text in ("what color", "how many images", "first"):
                tasks.start_soon(one, text)
        assert {text: answer.text for text, answer in answers.items()} == {
            "what color": "red", "how many images": "one", "first": "red",
        }  # fmt: skip
        assert min(answer.end.cached_tokens for answer in answers.values()) >= 3 + IMAGE_TOKENS


async def test_many_streams_see_their_own_images(seeing: Any) -> None:
    async with seeing(slots=4, context_tokens=256) as runner:
        right: list[bool] = []

        async def one(number: int) -> None:
            color = COLORS[number % len(COLORS)]
            answer = await look(runner, turn(f"{MARKER}what color"), picture(color, (40 + number, 40)))
            right.append(answer.text == color)

        async with anyio.create_task_group() as tasks:
            for number in range(24):
                tasks.start_soon(one, number)
        assert right == [True] * 24


async def test_a_cancelled_image_leaves_the_runner_whole(seeing: Any) -> None:
    async with seeing(slots=1) as runner:
        for _ in range(5):
            with anyio.move_on_after(0):
                await look(runner, turn(f"{MARKER}what color"), picture("red", (1500, 1500)))
        text, media = placed(turn(f"{MARKER}what color"), [picture("red")])
        answer = runner.generate(text, media=media, sampling=GREEDY)
        async for event in answer:
            assert isinstance(event, Delta)
            break
        await answer.aclose()
        assert (await look(runner, turn(f"{MARKER}what color"), picture("blue"))).text == "blue"


async def test_marks_around_an_image_are_not_doubled(seeing: Any) -> None:
    """Text is cut where an image stands; a cut behind it is kept."""
    async with seeing() as runner:
        text, media = placed(turn(f"{MARKER}what color"), [picture("red")])
        place = media[0].place
        answer = await ask(runner, text, media=media, cuts=(place - 1, place + 2), sampling=GREEDY, max_tokens=12)
        assert answer.text == "red"
        assert await runner.count(text, media=media) == 13
        assert await runner.count(text) == 13 - IMAGE_TOKENS


async def test_a_grammar_holds_an_answer_about_an_image(seeing: Any) -> None:
    async with seeing() as runner:
        grammar = Grammar(kind="regex", source="blue|green")
        answer = await look(runner, turn(f"{MARKER}what color"), picture("red"), grammar=grammar)
        assert answer.text in ("blue", "green")


async def test_an_answer_ends_where_the_context_does(seeing: Any) -> None:
    """A prompt with an image loses nothing, neither before the answer nor while it grows."""
    async with seeing(context_tokens=64, slots=1) as runner:
        endless = msgspec.structs.replace(GREEDY, num_predict=-1)
        grammar = Grammar(kind="regex", source="(red ){200}")
        answer = await look(
            runner, turn(f"{MARKER}what color"), picture("red"), sampling=endless, max_tokens=None, grammar=grammar
        )
        assert answer.end.reason == "length"
        with pytest.raises(ContextExceeded, match="exceeds the available context size"):
            await look(runner, turn(f"{MARKER * 20}what color"), *[picture("red")] * 20)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"x" * 50, picture("red")[:60]])
async def test_what_is_no_image_is_refused_alone(seeing: Any, data: bytes) -> None:
    async with seeing() as runner:
        with pytest.raises(InvalidRequest, match="image could not be read"):
            await look(runner, turn(f"{MARKER}what color"), data)
        with pytest.raises(InvalidRequest, match="image could not be read"):
            await runner.count("x", media=[Media(place=0, data=data)])
        assert (await look(runner, turn(f"{MARKER}what color"), picture("red"))).text == "red"


async def test_a_sound_is_refused_by_a_model_that_sees(seeing: Any) -> None:
    async with seeing() as runner:
        with pytest.raises(Unsupported, match="audio input is not supported"):
            await look(runner, turn(f"{MARKER}what color"), b"RIFF....WAVEfmt ")


async def test_a_model_without_a_projector_sees_nothing(running: Running) -> None:
    """native-api 211."""
    async with running() as runner:
        assert not runner.loaded.can_see
        with pytest.raises(Unsupported, match="image input is not supported"):
            await look(runner, f"{MARKER}SKY", picture("red"))
        with pytest.raises(Unsupported, match="image input is not supported"):
            await runner.count("x", media=[Media(place=0, data=picture("red"))])


async def test_a_projector_that_cannot_be_loaded_is_named(running: Running, models: Path, tmp_path: Path) -> None:
    for path, words in [(tmp_path / "none.gguf", "is not there"), (models / "scripted.gguf", "could not be loaded")]:
        with pytest.RaisesGroup(pytest.RaisesExc(RunnerStartFailed, match=words)):
            async with running("vision.gguf", projector_path=str(path)):
                pass
