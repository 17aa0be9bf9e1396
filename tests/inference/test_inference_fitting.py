"""Will it fit, before the model is here: from the beginning of its file."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from server.errors import InvalidGguf, InvalidRequest
from server.inference.fitting import Fitting, Question
from server.scheduler import Scheduler
from server.scheduler.fit import Fit, as_answer
from server.settings import Settings
from tests.scheduler.scheduler_fakes import FakeClock, FakeHardware, FakeStarts
from tests.store.gguf_builder import Strings, TensorEntry, small_model
from tests.store.projector_builder import header_of, projector_file

pytestmark = pytest.mark.anyio

GIB = 2**30
TOKENS = Strings([f"word{number}" for number in range(500)])


def beginning(rows: int) -> tuple[bytes, int]:
    """The header of a model whose only large tensor has `rows` of 4096 half floats, and the size of its file."""
    file = small_model(tokenizer__ggml__tokens=TOKENS, llama__feed_forward_length=64)
    file.tensors.append(TensorEntry("output.weight", (4096, rows), 1, data_bytes=0))
    data = file.encoded()
    return data, len(data) + rows * 4096 * 2


async def asked(
    prefix: bytes,
    size: int,
    question: Question | None = None,
    projector: tuple[bytes, int] = (b"", 0),
    **settings: Any,
) -> Fit | None:
    starts: Any = FakeStarts()
    values = Settings(**settings)
    catalog: Any = None  # nothing that is installed is looked at
    with anyio.fail_after(10):
        async with Scheduler(values, FakeHardware(), starts, FakeClock()) as scheduler:
            return await Fitting(catalog, scheduler, values).of_prefix(
                "m:latest",
                prefix,
                size,
                question or Question(),
                projector_prefix=projector[0],
                projector_bytes=projector[1],
            )


async def test_what_is_not_here_yet() -> None:
    prefix, size = beginning(rows=2**18)
    fit = await asked(prefix, size)
    assert fit is not None
    assert (fit.verdict, fit.basis, fit.context_tokens) == ("cpu", "about", 128)
    assert fit.pools[0].parts[0].bytes == pytest.approx(2 * GIB, rel=0.01)
    assert fit.sentence.startswith("m:latest with 128 tokens of context takes about 2.2 GB of system memory")


async def test_with_a_projector() -> None:
    """Both files are known by their beginnings alone."""
    prefix, size = beginning(rows=2**18)
    seeing = projector_file(image_size=896, width=1152, heads=16, feed_forward=4304, clip__projector_type="gemma3")
    header = header_of(seeing)
    projector = seeing.encoded(), header.file_size
    plain, fit = await asked(prefix, size), await asked(prefix, size, projector=projector)
    assert plain is not None
    assert fit is not None
    assert (plain.projector, fit.projector) == ("", "cpu")
    weights = sum(tensor.size for tensor in header.tensors)
    assert fit.total_bytes - plain.total_bytes == weights + int(121.25 * 2**20)
    assert await asked(prefix, size, projector=(projector[0][:100], size)) is None
    with pytest.raises(InvalidGguf):
        await asked(prefix, size, projector=(b"no model at all" * 10, 150))


@pytest.mark.parametrize("kind", ["gemma3", "qwen2vl_merger", "paddleocr", "gemma4uv", "youtuvl"])
async def test_absurd_projectors_have_sizes_that_can_be_told(kind: str) -> None:
    prefix, size = beginning(rows=2**18)
    absurd = dict.fromkeys(("attention__head_count", "projection_dim", "spatial_merge_size", "n_wa_pattern"), 999_999)
    seeing = projector_file(
        clip__projector_type=kind,
        image_size=8192,
        patch_size=1,
        image_max_pixels=2**31,
        is_gated=True,
        kept=9,
        **absurd,
    )
    fit = await asked(prefix, size, projector=(seeing.encoded(), header_of(seeing).file_size), flash_attention=False)
    assert fit is not None
    assert fit.verdict == "too large"
    assert msgspec.json.encode(as_answer(fit))


async def test_too_little_of_it() -> None:
    prefix, size = beginning(rows=2**18)
    assert await asked(prefix[:1000], size) is None


async def test_too_large_for_this_machine() -> None:
    prefix, size = beginning(rows=2**22)
    fit = await asked(prefix, size)
    assert fit is not None
    assert fit.verdict == "too large"
    assert "You may try it all the same." in fit.sentence


async def test_what_if() -> None:
    prefix, size = beginning(rows=1)
    fit = await asked(prefix, size, Question(num_ctx=64, parallel=3, kv_cache_type="Q8_0"), num_parallel=2)
    assert fit is not None
    assert (fit.context_tokens, fit.slots, fit.kv_cache_type) == (64, 3, "q8_0")


async def test_what_cannot_be() -> None:
    prefix, size = beginning(rows=1)
    for question in (Question(num_ctx=0), Question(parallel=257), Question(kv_cache_type="q9")):
        with pytest.raises(InvalidRequest):
            await asked(prefix, size, question)
    with pytest.raises(InvalidGguf):
        await asked(b"no model at all" * 10, size)
