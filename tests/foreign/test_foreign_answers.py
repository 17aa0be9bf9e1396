"""Models that were written for Ollama's own engine answer as those that were written for llama.cpp, number by number.

Each is made twice, with the same random weights: under llama.cpp's names, and under those of the old engine.
"""

from __future__ import annotations

import io
import pathlib
from typing import Any

import pytest
from PIL import Image

from server.engine.patchwork import can_stream
from server.messages.frames import Delta, Media
from server.messages.options import SamplingOptions
from server.messages.patchwork import Patch, Patchwork
from server.runner import Runner
from server.store.foreign import loadable
from server.store.gguf import read_header
from tests.foreign import old
from tests.foreign.conftest import Running

PROMPT = (
    "A text that 1112 models of the (world and oldWorld read, and long enough for windows: one two three four five."
)
GREEDY = SamplingOptions(temperature=0.0, seed=1)
TOKENS = 12
VECTORS = ("gemma3-embedding", "bert")


async def answer(runner: Runner, prompt: str = PROMPT, media: tuple[Media, ...] = ()) -> list[Any]:
    """The tokens with their alternatives."""
    found: list[Any] = []
    async for event in runner.generate(
        prompt, media=media, sampling=GREEDY, max_tokens=TOKENS, logprobs=5, with_tokens=True
    ):
        if isinstance(event, Delta):
            found += [event.tokens, event.logprobs]
    return found


def translated(path: pathlib.Path) -> dict[str, Any]:
    """The fields of a plan."""
    found = loadable(read_header(path), None)
    assert found.patches is not None
    plan: dict[str, Any] = {"model_path": str(path), "model_patches": found.patches}
    if found.projector_patches is not None:
        plan |= {"projector_path": str(path), "projector_patches": found.projector_patches}
    return plan


def picture() -> bytes:
    image = Image.new("RGB", (90, 60))
    image.putdata([(x * 2, y * 4, (x * y) % 256) for y in range(60) for x in range(90)])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.anyio
@pytest.mark.parametrize("family", sorted(set(old.FAMILIES) - set(VECTORS)))
async def test_the_same_answers(family: str, tmp_path: pathlib.Path, running: Running) -> None:
    """model-store 109, of those that are translated."""
    make_old, make_new, _ = old.FAMILIES[family]
    new = make_new().write(tmp_path / "new.gguf")
    path = make_old().write(tmp_path / "old.gguf")
    before = path.read_bytes()
    async with running(model_path=str(new)) as runner:
        expected = await answer(runner)
        other = await answer(runner, PROMPT[:-20])
    async with running(**{**translated(path), "projector_path": "", "projector_patches": None}) as runner:
        found = await answer(runner)
    assert found == expected
    assert found != other  # what stands in the text matters
    assert path.read_bytes() == before


@pytest.mark.anyio
@pytest.mark.parametrize("family", sorted(name for name, made in old.FAMILIES.items() if made[2] is not None))
async def test_the_same_answers_about_a_picture(family: str, tmp_path: pathlib.Path, running: Running) -> None:
    make_old, make_new, make_projector = old.FAMILIES[family]
    assert make_projector is not None
    new, eye = make_new().write(tmp_path / "new.gguf"), make_projector().write(tmp_path / "eye.gguf")
    path = make_old().write(tmp_path / "old.gguf")
    media = (Media(place=2, data=picture()),)
    async with running(model_path=str(new), projector_path=str(eye)) as runner:
        assert runner.loaded.can_see
        expected = await answer(runner, media=media)
        blind = await answer(runner)
    async with running(**translated(path)) as runner:
        assert runner.loaded.can_see
        found = await answer(runner, media=media)
    assert found == expected
    assert found != blind


@pytest.mark.anyio
@pytest.mark.parametrize("family", VECTORS)
async def test_the_same_vectors(family: str, tmp_path: pathlib.Path, running: Running) -> None:
    make_old, make_new, _ = old.FAMILIES[family]
    new, path = make_new().write(tmp_path / "new.gguf"), make_old().write(tmp_path / "old.gguf")
    vectors = []
    for plan in ({"model_path": str(new)}, translated(path)):
        async with running(**plan, embedding=True) as runner:
            vectors.append((await runner.embed([PROMPT, "another"])).vectors)
    assert vectors[0] == vectors[1]


@pytest.mark.anyio
async def test_a_projector_from_before_there_were_kinds(
    models: pathlib.Path, tmp_path: pathlib.Path, running: Running
) -> None:
    """Those of the first LLaVA models do not say what they are."""
    model, eye = models / "vision.gguf", models / "vision-mmproj.gguf"
    path = tmp_path / "eye.gguf"
    path.write_bytes(eye.read_bytes().replace(b"clip.projector_type", b"clip.projector_tipe"))
    found = loadable(read_header(model), read_header(path))
    assert found.patches is None
    assert found.projector_patches is not None
    media = (Media(place=2, data=picture()),)
    answers = []
    for plan in (
        {"projector_path": str(eye)},
        {"projector_path": str(path), "projector_patches": found.projector_patches},
    ):
        async with running(model_path=str(model), **plan) as runner:
            assert runner.loaded.can_see
            answers.append(await answer(runner, media=media))
    assert answers[0] == answers[1]


@pytest.mark.anyio
async def test_a_model_that_cannot_be_streamed_is_written(tmp_path: pathlib.Path, running: Running) -> None:
    """Windows has no streams that a program could fill; one that is not plain is written everywhere."""
    path = old.gptoss().write(tmp_path / "old.gguf")
    plan = translated(path)
    first, *others = plan["model_patches"].patches
    assert first.data
    turned = [Patch(offset=each.offset, size=each.size, unit=each.size, order=(0,)) for each in others if not each.data]
    mixed = iter(turned)
    patches = (first, *(each if each.data else next(mixed) for each in others))
    written = Patchwork(plan["model_patches"].source, patches)
    assert not can_stream(written)
    answers = []
    for work in (plan["model_patches"], written):
        async with running(model_path=str(path), model_patches=work) as runner:
            answers.append(await answer(runner))
    assert answers[0] == answers[1]
