"""Vectors of real models: one that can be worked out by hand, and random encoders without memory."""

from __future__ import annotations

import dataclasses
import itertools
import struct
from pathlib import Path

import anyio
import gguf
import numpy as np
import numpy.typing as npt
import pytest

from server.errors import ContextExceeded, InvalidRequest, RunnerStartFailed, Unsupported
from server.messages.frames import Pulse
from server.runner import Runner
from tests.bench import bert
from tests.runner.conftest import Running

pytestmark = pytest.mark.anyio

WIDTH = 64
EMBEDDING = {"embedding": True, "context_tokens": 512, "batch_tokens": 512, "slots": 1}
NONE, MEAN, CLS, LAST, RANK = range(5)

Vector = npt.NDArray[np.float32]


def token_vector(token: int) -> Vector:
    """As the maker of embedding.gguf has it, scaled by the output norm."""
    raw = np.sin((token * 7919 + 13) * np.arange(1, WIDTH + 1) * 0.01).astype(np.float32)
    return np.asarray(raw / np.sqrt(np.square(raw).mean() + 1e-5), dtype=np.float32)


async def vectors(runner: Runner, *inputs: str | tuple[int, ...]) -> list[Vector]:
    return [np.frombuffer(vector, "<f4") for vector in (await runner.embed(inputs)).vectors]


def with_pooling(models: Path, folder: Path, pooling: int) -> str:
    """A copy of embedding.gguf that pools otherwise."""
    key = b"llama.pooling_type" + struct.pack("<I", gguf.GGUFValueType.UINT32)
    data = (models / "embedding.gguf").read_bytes()
    assert data.count(key) == 1
    at = data.index(key) + len(key)
    path = folder / "pooling.gguf"
    path.write_bytes(data[:at] + struct.pack("<I", pooling) + data[at + 4 :])
    return str(path)


async def test_the_vector_is_the_mean_of_the_tokens(running: Running) -> None:
    async with running("embedding.gguf", **EMBEDDING) as runner:
        tokens = await runner.tokenize("hello", add_special=True)
        answer = await runner.embed(["hello", "", "ab"])
        assert answer.token_counts == (6, 1, 3)
        hello = np.frombuffer(answer.vectors[0], "<f4")
        assert hello == pytest.approx(np.mean([token_vector(token) for token in tokens], axis=0), abs=1e-5)
        [as_ids] = await vectors(runner, tokens)
        assert as_ids == pytest.approx(hello, abs=1e-6)
        assert (await runner.embed([])).vectors == ()


@pytest.mark.parametrize("pooling", [gguf.PoolingType.MEAN, gguf.PoolingType.CLS])
async def test_a_batch_gives_what_each_text_gives_alone(
    running: Running, tmp_path: Path, pooling: gguf.PoolingType
) -> None:
    shape = dataclasses.replace(bert.TINY, pooling=pooling)
    model = str(bert.write(tmp_path / "bert.gguf", shape))
    texts = [" ".join(f"w{number * 7 % 500}" for number in range(count % 61)) for count in range(150)]
    async with running(model, **{**EMBEDDING, "context_tokens": 64, "batch_tokens": 64}) as runner:
        together = await vectors(runner, *texts)
        for number in (0, 1, 60, 61, 149):
            [alone] = await vectors(runner, texts[number])
            assert together[number] == pytest.approx(alone, abs=5e-3)
        counts = (await runner.embed(texts)).token_counts
        assert counts == tuple(count % 61 + 2 for count in range(150)), "[CLS] and [SEP] are counted"


async def test_the_last_token_speaks_for_a_text_longer_than_a_batch(
    running: Running, models: Path, tmp_path: Path
) -> None:
    model = with_pooling(models, tmp_path, LAST)
    async with running(model, **{**EMBEDDING, "batch_tokens": 32}) as runner:
        long, short = await vectors(runner, "z" * 200 + "a", "a")
        assert long == pytest.approx(short, abs=1e-5)
        with pytest.raises(ContextExceeded):
            await runner.embed(["z" * 512])
    async with running("embedding.gguf", **{**EMBEDDING, "batch_tokens": 32}) as runner:
        assert len(await vectors(runner, "z" * 31)) == 1
        with pytest.raises(ContextExceeded, match=r"^the input length exceeds the context length$"):
            await runner.embed(["z" * 32])


@pytest.mark.parametrize("pooling", [NONE, RANK])
async def test_other_ways_to_pool_are_refused_or_do_not_load(
    running: Running, models: Path, tmp_path: Path, pooling: int
) -> None:
    try:
        async with running(with_pooling(models, tmp_path, pooling), **EMBEDDING) as runner:
            with pytest.raises(Unsupported, match="makes no vectors"):
                await runner.embed(["hello"])
    except* RunnerStartFailed:
        assert pooling == RANK, "this file has nothing to rank with"


async def test_a_model_that_writes_makes_no_vectors(running: Running) -> None:
    async with running() as runner:
        with pytest.raises(Unsupported, match="Please use an embedding model"):
            await runner.embed(["hello"])


async def test_what_would_end_the_process_is_refused(running: Running, tmp_path: Path) -> None:
    model = str(bert.write(tmp_path / "bert.gguf", bert.TINY))
    # The context is larger than the model's table of positions.
    async with running(model, **{**EMBEDDING, "context_tokens": 512}) as runner:
        with pytest.raises(InvalidRequest, match="There is no token 512"):
            await runner.embed([(5, 512)])
        with pytest.raises(ContextExceeded):
            await runner.embed([tuple(range(5, 70))])
        assert len(await vectors(runner, tuple(range(5, 69)))) == 1


@pytest.mark.parametrize("batch", [1, 4])
async def test_the_smallest_batches(running: Running, batch: int) -> None:
    async with running("embedding.gguf", **{**EMBEDDING, "context_tokens": 4, "batch_tokens": batch}) as runner:
        assert len(await vectors(runner, "", *["", "a"][: batch // 2])) == 1 + min(batch // 2, 2)


async def test_many_requests_at_once(running: Running) -> None:
    async with running("embedding.gguf", **EMBEDDING) as runner:
        wanted = await vectors(runner, *map(str, range(40)))
        found: dict[int, list[Vector]] = {}

        async def ask(number: int) -> None:
            found[number] = await vectors(runner, str(number), str(39 - number))

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(ask, number)
        for number in range(40):
            assert np.array(found[number]) == pytest.approx(np.array([wanted[number], wanted[39 - number]]), abs=1e-5)


async def test_a_request_that_is_left_makes_room(running: Running) -> None:
    """Its work is endless compared to what the test waits for."""
    async with running("embedding.gguf", **EMBEDDING) as runner:
        busy = anyio.Event()

        def watch(pulse: Pulse) -> None:
            if pulse.active:
                busy.set()

        runner.on_pulse = watch
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                words = itertools.islice(itertools.product("abcdef", repeat=7), 60_000)
                texts = ["".join(letters) for letters in words]
                tasks.start_soon(runner.embed, texts)
            with anyio.fail_after(60):
                await busy.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(60):
            assert len(await vectors(runner, "hello")) == 1
