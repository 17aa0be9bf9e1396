"""What loads took, remembered: in memory, in the file, and in the next placement."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from server.hardware.devices import Device
from server.messages.frames import Buffer, LaunchPlan, Loaded
from server.messages.models import ModelShape
from server.messages.options import RunnerOptions
from server.scheduler import Scheduler
from server.scheduler.footprint import footprint
from server.scheduler.measurements import MOST_ENTRIES, Measurements, taken_by
from server.settings import Settings
from tests.scheduler.scheduler_fakes import FakeClock, FakeHardware, FakeStarts, spec

PLAN = LaunchPlan(model_path="/m", context_tokens=4096)
TAKEN = {"cpu": {"weights": 100, "kv": 10}}
LOADED = Loaded(context_tokens=4096, slots=1, train_context_tokens=4096, vocab_size=5, add_bos=True)


def changed(**fields: Any) -> LaunchPlan:
    return msgspec.structs.replace(PLAN, **fields)


def test_a_load_is_recalled_for_the_same_setting_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "loads.json"
    Measurements(path).remember("d", PLAN, TAKEN)
    known = Measurements(path)
    assert known.recall("d", PLAN) == TAKEN
    assert known.recall("d", changed(model_path="/elsewhere", threads=3)) == TAKEN
    assert known.recall("d", changed(context_tokens=4000)) == TAKEN  # the same cells
    for other in ({"context_tokens": 8192}, {"slots": 2}, {"kv_type": "q8_0"}, {"gpu_layers": 3}, {"use_mmap": False}):
        assert known.recall("d", changed(**other)) is None
    assert known.recall("another", PLAN) is None
    assert known.recall("", PLAN) is None
    assert [entry.name for entry in path.parent.iterdir()] == ["loads.json"]


def test_the_newest_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "loads.json"
    known = Measurements(path)
    for number in range(MOST_ENTRIES):
        known.remember(f"d{number}", PLAN, TAKEN)
    known.remember("d0", PLAN, TAKEN)  # nothing new, but it was used
    known.remember("fresh", PLAN, TAKEN)
    again = Measurements(path)
    assert [again.recall(name, PLAN) is not None for name in ("d0", "d1", "d2", "fresh")] == [True, False, True, True]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b'{"version": "0.0.0", "loads": {"a": {}}}'])
def test_a_file_that_says_nothing_costs_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "loads.json"
    path.write_bytes(content)
    known = Measurements(path)
    assert known.recall("d", PLAN) is None
    known.remember("d", PLAN, TAKEN)
    assert Measurements(path).recall("d", PLAN) == TAKEN


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    known = Measurements(blocked / "loads.json")
    with caplog.at_level(logging.WARNING):
        known.remember("d", PLAN, TAKEN)
    assert "keep what a load took" in caplog.text
    assert known.recall("d", PLAN) == TAKEN


def buffer(device: str, kind: Any, size: int, *, is_gpu: bool = False) -> Buffer:
    return Buffer(device=device, kind=kind, bytes=size, is_gpu=is_gpu)


def test_a_report_is_read_by_pool_and_kind() -> None:
    buffers = (
        buffer("CUDA0", "weights", 50, is_gpu=True), buffer("CUDA0", "kv", 5, is_gpu=True),
        buffer("CPU", "weights", 7), buffer("CPU_REPACK", "weights", 3), buffer("CUDA_Host", "compute", 2),
        buffer("CPU", "other", 99),
    )  # fmt: skip
    loaded = msgspec.structs.replace(LOADED, buffers=buffers)
    devices = (Device(4, "CUDA0"),)
    estimate = footprint(ModelShape(weights_bytes=60), PLAN)
    taken = taken_by(loaded, devices, changed(use_mmap=False), estimate, {"cpu": 110, "gpu4": 75, "gpu9": 1})
    assert taken == {
        "gpu4": {"weights": 50, "kv": 5, "overhead": 20},
        "cpu": {"weights": 10, "compute": 2, "overhead": 100},
    }
    unknown = taken_by(loaded, devices, changed(use_mmap=False), estimate, {})
    assert unknown == {"gpu4": {"weights": 50, "kv": 5}, "cpu": {"weights": 10, "compute": 2}}


def test_a_mapping_counts_no_more_than_its_tensors() -> None:
    loaded = msgspec.structs.replace(LOADED, buffers=(buffer("CPU_Mapped", "weights", 1000),))
    estimate = footprint(ModelShape(weights_bytes=60), PLAN)
    assert taken_by(loaded, (), changed(use_mmap=True), estimate, {"cpu": 5000}) == {"cpu": {"weights": 60}}


@pytest.mark.anyio
async def test_a_load_corrects_the_next_answer(tmp_path: Path) -> None:
    """The first load is placed by the estimate, what it took is written down, and the next Scheduler knows it."""
    model, options = spec("/m"), RunnerOptions(num_ctx=4096)
    buffers = (buffer("CPU", "weights", 3 * 2**30), buffer("CPU", "compute", 12345))

    class Reporting(FakeStarts):
        async def __call__(self, plan: LaunchPlan, **rest: Any) -> Any:
            runner = await super().__call__(plan, **rest)
            runner.loaded = msgspec.structs.replace(runner.loaded, buffers=buffers)
            return runner

    def scheduler(starts: FakeStarts) -> Scheduler:
        known = Measurements(tmp_path / "loads.json")
        start: Any = starts
        return Scheduler(Settings(), FakeHardware(), start, FakeClock(), known)

    starts = Reporting()
    with anyio.fail_after(10):
        async with scheduler(starts) as first:
            before = await first.fit(model, options)
            async with first.lease(model, options):
                pass
        async with scheduler(starts) as second:
            after = await second.fit(model, options)
            other = await second.fit(model, RunnerOptions(num_ctx=8192))
    assert (before.basis, after.basis, other.basis) == ("about", "measured", "about")
    parts = {part.kind: part.bytes for part in after.pools[0].parts}
    assert (parts["weights"], before.pools[0].parts[0].bytes) == (3 * 2**30, 2**30)
    assert "as measured when it was loaded last" in after.sentence
    assert json.loads((tmp_path / "loads.json").read_bytes())["loads"]
