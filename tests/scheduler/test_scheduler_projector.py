"""Models that see and hear: where their projector goes, what it takes, and what happens where it takes too much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from server.errors import OutOfMemory
from server.hardware.devices import Device
from server.messages.frames import Buffer, LaunchPlan, Loaded
from server.messages.models import EncoderShape, ModelShape, ModelSpec, ProjectorShape
from server.messages.options import RunnerOptions
from server.scheduler import projection
from server.scheduler.events import Candidate, Order
from server.scheduler.fit import fit_of
from server.scheduler.footprint import footprint
from server.scheduler.measurements import Measurements, taken_by
from server.scheduler.parts import corrected
from server.scheduler.placement import PROJECTOR_NOTE, Machine, place
from server.scheduler.reuse import Setup, can_reuse
from server.scheduler.snapshot import sizes_of
from server.scheduler.state import Limits
from server.settings import Settings
from tests.scheduler.policy_world import World
from tests.scheduler.scheduler_fakes import order

GIB = 2**30
MIB = 2**20
GEMMA3 = EncoderShape(
    kind="gemma3", positions=4096, most_positions=4096, position_inputs=588, embedding_length=1152, head_count=16,
    feed_forward=4304, projection_length=2560, image_tokens=256, is_whole=True,
)  # fmt: skip
QWEN2 = EncoderShape(
    kind="qwen2vl_merger", positions=8464, most_positions=16384, position_inputs=588, embedding_length=1280,
    head_count=16, feed_forward=5120, projection_length=3584, image_tokens=4096,
)  # fmt: skip
GEMMA4 = EncoderShape(
    kind="gemma4v", positions=2304, most_positions=10080, position_inputs=768, embedding_length=1152, head_count=16,
    feed_forward=4304, is_gated=True, projection_length=2560, image_tokens=1120, is_whole=True,
)  # fmt: skip
TEXT = ModelShape(
    architecture="gemma3", block_count=32, embedding_length=2560, head_count=32, head_count_kv=(8,),
    context_length=131072, weights_bytes=4 * GIB,
)  # fmt: skip


def gpu(index: int, gib: float, library: str = "CUDA", **fields: Any) -> Device:
    size = int(gib * GIB)
    return Device(index, f"{library}{index}", library=library, total_bytes=size, free_bytes=size, **fields)


def machine(*devices: Device, host_gib: float = 64) -> Machine:
    return Machine(devices, {"cpu": int(host_gib * GIB), **{d.pool: d.free_bytes for d in devices}}, "linux")


def spec(*encoders: EncoderShape, weights_bytes: int = GIB, shape: ModelShape = TEXT) -> ModelSpec:
    projector = ProjectorShape(weights_bytes=weights_bytes, encoders=encoders or (GEMMA3,))
    return ModelSpec(
        name="m", digest="d", path="/m", shape=shape, projector_path="/p", projector=projector, has_vision=True
    )


def placed(on: Machine, model: ModelSpec | None = None, **options: Any) -> Order:
    settings = Settings(**options.pop("settings", {}))
    return place(model or spec(), RunnerOptions(**{"num_ctx": 4096, **options}), settings, on)


def best(on: Machine, model: ModelSpec | None = None, **options: Any) -> Candidate:
    return placed(on, model, **options).candidates[0]


# ---- the plan ------------------------------------------------------------------------------------------------------


def test_the_plan_names_the_projector() -> None:
    plan = best(machine(gpu(0, 24))).plan
    assert (plan.projector_path, plan.projector_offload, plan.image_min_tokens) == ("/p", True, 0)
    plain = best(machine(gpu(0, 24)), msgspec.structs.replace(spec(), projector_path="", projector=ProjectorShape()))
    assert (plain.plan.projector_path, plain.plan.projector_offload) == ("", False)


def test_what_makes_vectors_needs_no_projector() -> None:
    model = msgspec.structs.replace(spec(), can_complete=False)
    blind = msgspec.structs.replace(model, projector_path="", projector=ProjectorShape())
    found = placed(machine(gpu(0, 24)), model)
    assert found == placed(machine(gpu(0, 24)), blind)
    assert found.projector_on_cpu is None


@pytest.mark.parametrize(
    ("on", "options", "offload"),
    [
        pytest.param(machine(), {}, False, id="no GPU"),
        pytest.param(machine(gpu(0, 24)), {"num_gpu": 0}, False, id="num_gpu 0"),
        pytest.param(machine(gpu(0, 24)), {"num_gpu": 10}, False, id="some layers by name"),
        pytest.param(machine(gpu(0, 24)), {"num_gpu": 32}, False, id="all but the output layer"),
        pytest.param(machine(gpu(0, 24)), {"num_gpu": 33}, True, id="all layers by name"),
        pytest.param(machine(gpu(0, 24)), {"num_gpu": 99}, True, id="more than all"),
        pytest.param(machine(gpu(0, 1.9)), {}, False, id="a GPU smaller than the projector and 1 GiB"),
        pytest.param(machine(gpu(0, 3)), {}, True, id="a small one that splits the layers"),
        pytest.param(machine(gpu(0, 12), gpu(1, 1.9)), {"settings": {"sched_spread": True}}, False, id="any of them"),
    ],
)
def test_where_the_projector_is_computed(on: Machine, options: dict[str, Any], offload: bool) -> None:
    """runtime 10.2."""
    assert best(on, **options).plan.projector_offload is offload


@pytest.mark.parametrize("architecture", ["qwen2vl", "qwen25vl", "qwen3vl", "qwen3vlmoe", "gemma3", "llama"])
def test_models_that_need_large_images(architecture: str) -> None:
    """runtime 10.2: `--image-min-tokens 1024`."""
    model = spec(QWEN2, shape=msgspec.structs.replace(TEXT, architecture=architecture))
    least = 1024 if architecture.startswith("qwen") else 0
    assert best(machine(), model).plan.image_min_tokens == least
    assert best(machine(), msgspec.structs.replace(model, projector_path="")).plan.image_min_tokens == 0


@pytest.mark.parametrize(
    ("encoder", "options", "batch"),
    [
        (GEMMA3, {}, 512),
        (GEMMA3, {"num_batch": 64}, 256),
        (GEMMA3, {"num_batch": 300}, 300),
        (GEMMA4, {}, 1120),
        (GEMMA4, {"num_ctx": 65536}, 2048),
        (GEMMA4, {"num_ctx": 2048, "num_batch": 8}, 1120),
        (QWEN2, {"num_batch": 64}, 64),
    ],
)
def test_a_batch_holds_an_image_that_cannot_be_split(
    encoder: EncoderShape, options: dict[str, Any], batch: int
) -> None:
    found = placed(machine(), spec(encoder), **options)
    assert found.candidates[0].plan.batch_tokens == batch
    assert found.setup.num_batch == batch
    assert bool(found.notes) is (options.get("num_batch", batch) < batch)


def test_a_batch_on_old_gpus_holds_an_image_too() -> None:
    on = machine(gpu(0, 8, compute="5.2"))
    assert best(on, spec(GEMMA4), num_ctx=8192).plan.batch_tokens == 1120
    assert best(on, spec(GEMMA3), num_ctx=8192).plan.batch_tokens == 256


@pytest.mark.parametrize("asked", [1, -5])
def test_the_smallest_context(asked: int) -> None:
    """runtime 69, native-api 109."""
    assert placed(machine(), num_ctx=asked).setup.num_ctx == 2048


def test_another_projector_is_another_way_to_load() -> None:
    """runtime 5.4, native-api 5.3: another list of projectors loads the model anew."""
    seeing = placed(machine()).setup
    other = placed(machine(), msgspec.structs.replace(spec(), projector_path="/q")).setup
    blind = placed(machine(), msgspec.structs.replace(spec(), projector_path="")).setup
    assert can_reuse(seeing, placed(machine()).setup)
    assert not any(can_reuse(seeing, wanted) for wanted in (other, blind))
    assert not can_reuse(blind, seeing)
    assert not can_reuse(Setup(), Setup(projector_path="/p"))


# ---- the arithmetic ------------------------------------------------------------------------------------------------

SIGLIP = {"width": 1152, "heads": 16, "ff": 4304}
VIT_L = {"width": 1024, "heads": 16, "ff": 4096}
QWEN = {"width": 1280, "heads": 16, "ff": 5120, "merge": 4}


def known(
    positions: int, patch: int, *, width: int, heads: int, ff: int, projection: int, merge: int = 1, **more: Any
) -> EncoderShape:
    return EncoderShape(
        positions=positions, most_positions=positions, position_inputs=3 * patch * patch, embedding_length=width,
        head_count=heads, feed_forward=ff, projection_length=projection, image_tokens=positions // merge, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("encoder", "flash_mib", "plain_mib"),
    [
        pytest.param(known(4096, 14, **SIGLIP, projection=2560, merge=16), 121.25, 1132, id="gemma3"),
        pytest.param(known(576, 14, **VIT_L, projection=4096), 21.55, 32.88, id="llava 1.5"),
        pytest.param(known(256, 14, **VIT_L, projection=4096), 9.58, 9.62, id="llava with small images"),
        pytest.param(known(8464, 14, **QWEN, projection=3584), 267.08, 4598.27, id="qwen2-vl"),
        pytest.param(
            known(8464, 14, **{**QWEN, "ff": 3420}, projection=3584, is_gated=True, has_mask=True),
            704.79, 4871.57, id="qwen2.5-vl",
        ),
        pytest.param(
            known(8464, 16, **SIGLIP, projection=4096, merge=4, kept_outputs=2), 312.67, 4695, id="qwen3-vl 8b",
        ),
        pytest.param(
            known(8464, 16, **VIT_L, projection=2048, merge=4, kept_outputs=2), 289.43, 4661.94, id="qwen3-vl 2b",
        ),
        pytest.param(known(1024, 14, **VIT_L, projection=5120, merge=4, is_gated=True), 64.62, 86.62, id="pixtral"),
        pytest.param(known(2304, 16, **SIGLIP, projection=2560, merge=9, is_gated=True), 150.63, 381.39, id="gemma4"),
        pytest.param(
            known(2304, 16, width=768, heads=12, ff=3072, projection=2560, merge=9, is_gated=True),
            101.27, 276.77, id="small gemma4",
        ),
        pytest.param(known(1024, 14, **VIT_L, projection=3584, merge=4), 28.03, 80.14, id="internvl"),
        pytest.param(
            known(1024, 14, width=3200, heads=25, ff=12800, projection=5120, merge=4), 87.59, 150.24, id="internvl 6b",
        ),
        pytest.param(known(1024, 16, width=768, heads=12, ff=3072, projection=960, merge=16), 21, 60, id="smolvlm"),
        pytest.param(known(1024, 16, **SIGLIP, projection=2048, merge=4), 30.31, 82, id="lfm2-vl"),
        pytest.param(
            EncoderShape(
                sense="audio", positions=1500, position_inputs=256, embedding_length=1280, head_count=20,
                feed_forward=5120, projection_length=4096,
            ),
            51.27, 200.96, id="whisper",
        ),
    ],
)  # fmt: skip
def test_what_llama_cpp_reports_for_known_projectors(encoder: EncoderShape, flash_mib: float, plain_mib: float) -> None:
    for has_flash_attention, mib in ((True, flash_mib), (False, plain_mib)):
        work = projection.work_of(encoder, encoder.positions, has_flash_attention=has_flash_attention)
        assert work.total_bytes == pytest.approx(mib * MIB, rel=0.09)


def plan(**fields: Any) -> LaunchPlan:
    return LaunchPlan(model_path="/m", **{"projector_path": "/p", "gpu_layers": -1, **fields})


def test_the_projector_counts_where_it_is() -> None:
    model = spec(GEMMA3)
    shares = {"gpu0": 1.0, "gpu1": 1.0}
    bare = footprint(TEXT, plan(projector_path=""), shares).need()
    there = footprint(TEXT, plan(), shares, projector=model.projector).need()
    here = footprint(TEXT, plan(projector_offload=False), shares, projector=model.projector).need()
    whole = GIB + int(121.25 * MIB)

    def added(need: Mapping[str, int]) -> list[int]:
        return [need.get(pool, 0) - bare.get(pool, 0) for pool in ("gpu0", "gpu1", "cpu")]

    assert added(there) == [whole, 0, 4096 * 588 * 4]
    assert added(here) == [0, 0, whole]
    alone = footprint(TEXT, plan(gpu_layers=0), projector=model.projector).need()
    assert alone["cpu"] == footprint(TEXT, plan(gpu_layers=0, projector_path="")).need()["cpu"] + whole


def test_the_largest_image_takes_more_than_the_load() -> None:
    projector = ProjectorShape(weights_bytes=GIB, encoders=(QWEN2,))
    (host,) = footprint(TEXT, plan(gpu_layers=0), projector=projector).devices
    (later,) = [part for part in host.parts if part.is_later]
    per_position = projection.work_of(QWEN2, 1, has_flash_attention=True).total_bytes
    assert (later.kind, later.bytes) == ("overhead", (16384 - 8464) * per_position)
    assert host.total_bytes - host.buffer_bytes == host.bytes_of("overhead") > later.bytes
    assert "16384 positions" in later.arithmetic


def test_eyes_and_ears() -> None:
    ear = EncoderShape(sense="audio", positions=1500, embedding_length=1280, head_count=20, feed_forward=5120)
    both = ProjectorShape(weights_bytes=GIB, encoders=(GEMMA3, ear))
    (host,) = footprint(TEXT, plan(gpu_layers=0), projector=both).devices
    texts = [part.arithmetic for part in host.parts if part.kind == "compute"]
    assert [text.partition(",")[0] for text in texts] == ["images", "sounds"]


def test_layers_leave_room_for_the_projector() -> None:
    small = gpu(0, 5)
    seeing, blind = best(machine(small)), best(machine(small), msgspec.structs.replace(spec(), projector_path=""))
    assert 0 < seeing.plan.gpu_layers < blind.plan.gpu_layers < 33
    assert seeing.plan.projector_offload
    assert seeing.need["gpu0"] <= 5 * GIB


def test_nothing_goes_to_a_gpu_that_has_no_room_for_a_layer() -> None:
    candidate = best(machine(gpu(0, 2.2)))
    assert (candidate.plan.gpu_layers, candidate.plan.projector_offload) == (0, False)
    assert candidate.need.keys() == {"cpu"}


def test_a_measurement_stands_for_all_parts_of_a_kind() -> None:
    projector = ProjectorShape(weights_bytes=GIB, encoders=(QWEN2,))
    estimate = footprint(TEXT, plan(), {"gpu0": 1.0}, projector=projector, adapter_bytes=MIB)
    after = corrected(estimate, {"gpu0": {"weights": 7, "compute": 8, "overhead": 9}})
    card = after.devices[0]
    later = sum(part.bytes for part in card.parts if part.is_later)
    assert (card.bytes_of("weights"), card.bytes_of("compute"), card.bytes_of("overhead")) == (7, 8, 9 + later)
    assert later > 0


def test_a_load_is_recalled_for_the_same_place_of_the_projector() -> None:
    known = Measurements()
    known.remember("d", plan(), {"gpu0": {"weights": 1}})
    assert known.recall("d", plan()) == {"gpu0": {"weights": 1}}
    assert known.recall("d", plan(projector_offload=False)) is None


def loaded(*buffers: tuple[str, Any, int], layers: int = 33) -> Loaded:
    return Loaded(
        context_tokens=4096, slots=1, train_context_tokens=4096, vocab_size=5, add_bos=True, gpu_layers=layers,
        total_layers=33, buffers=tuple(
            Buffer(device=device, kind=kind, bytes=size, is_gpu=device != "CPU") for device, kind, size in buffers
        ),
    )  # fmt: skip


def test_what_a_projector_took_is_read_with_the_rest() -> None:
    model = ProjectorShape(weights_bytes=50, encoders=(GEMMA3,))
    estimate = footprint(TEXT, plan(gpu_layers=0), projector=model)
    report = loaded(("CPU", "weights", 4 * GIB + 50), ("CPU", "compute", 20))
    taken = taken_by(report, (), plan(gpu_layers=0, use_mmap=True), estimate, {})
    assert taken == {"cpu": {"weights": 4 * GIB + 50, "compute": 20}}


# ---- what is told --------------------------------------------------------------------------------------------------


def test_a_model_with_its_projector_elsewhere_is_not_whole_on_the_gpu() -> None:
    """runtime 9.3; the projector is part of both sizes."""
    report = loaded(("CUDA0", "weights", 100), ("CPU", "compute", 5), ("CPU", "weights", 30))
    assert sizes_of(report, Candidate(plan(), {})) == (100, 100)
    assert sizes_of(report, Candidate(plan(projector_offload=False), {})) == (135, 100)
    assert sizes_of(report, Candidate(plan(projector_path="", projector_offload=False), {})) == (100, 100)


def test_a_model_that_loads_is_told_with_its_projector() -> None:
    on = machine(gpu(0, 24))
    there, here = best(on), best(on, num_gpu=10)
    assert sizes_of(None, there) == (there.need["gpu0"], there.need["gpu0"])
    assert sizes_of(None, here) == (sum(here.need.values()), here.need["gpu0"])
    retried = placed(on).projector_on_cpu
    assert retried is not None
    need = retried.candidates[0].need
    assert sizes_of(None, retried.candidates[0]) == (sum(need.values()), need["gpu0"])


def test_the_answer_to_will_it_fit() -> None:
    def fitted(on: Machine, **options: Any) -> Any:
        return fit_of(placed(on, **options), on.devices, on.room)

    whole = fitted(machine(gpu(0, 24)))
    assert (whole.projector, whole.verdict) == ("gpu", "gpu")
    assert whole.sentence.endswith("It fits, whole on the GPU.")
    kinds = {part.arithmetic.split(",")[0] for part in whole.pools[0].parts}
    assert {"projector", "images"} <= kinds
    assert fitted(machine()).projector == "cpu"
    order = placed(machine(gpu(0, 24))).projector_on_cpu
    assert order is not None
    spared = fit_of(order, (gpu(0, 24),), {})
    assert (spared.projector, spared.verdict) == ("cpu", "gpu")
    assert spared.sentence.endswith("It fits, all but its projector on the GPU.")


# ---- out of memory -------------------------------------------------------------------------------------------------


def test_placement_says_how_to_spare_the_gpu() -> None:
    """runtime 12.3."""
    found = placed(machine(gpu(0, 80)), num_ctx=None)
    spared = found.projector_on_cpu
    assert spared is not None
    assert spared.projector_on_cpu is None
    assert spared.notes == (PROJECTOR_NOTE,)
    assert can_reuse(found.setup, spared.setup)
    assert [way.plan.projector_offload for way in (*found.candidates, *found.fallback)] == [True, True]
    assert [way.plan.projector_offload for way in (*spared.candidates, *spared.fallback)] == [False, False]
    assert spared.candidates[0].plan.gpu_layers == -1
    assert placed(machine()).projector_on_cpu is None
    assert placed(machine(gpu(0, 80)), num_gpu=3).projector_on_cpu is None


def spared_order(need: int, smaller: int, fallback: int | None = None) -> Order:
    found = order("a", need, fallback=fallback)
    less = order("a", smaller, fallback=fallback)
    return Order(found.key, found.setup, found.candidates, found.fallback, projector_on_cpu=less)


def test_out_of_memory_spares_the_gpu_the_projector_first() -> None:
    """runtime 12.3 (a): nobody leaves for it, and the other retries remain."""
    w = World(Limits(fill=1.0))
    w.load_idle("other")
    ticket = w.request(spared_order(20, 15, fallback=5))
    needs = []
    assert w.failed("a", OutOfMemory(), out_of_memory=True) == ["start a"]
    needs.append(w.loading[w.runner("a", w.loading)].candidate.need)
    assert w.failed("a", OutOfMemory(), out_of_memory=True) == ["stop other"]
    assert w.exited("other") == ["start a"]
    needs.append(w.loading[w.runner("a", w.loading)].candidate.need)
    assert needs == [{"cpu": 15}, {"cpu": 5}]
    assert w.failed("a", OutOfMemory("still"), out_of_memory=True) == ["refuse"]
    assert str(w.errors[ticket]) == "still"


def test_the_projector_moves_once() -> None:
    w = World(Limits(fill=1.0))
    w.request(spared_order(20, 15))
    assert w.failed("a", OutOfMemory(), out_of_memory=True) == ["start a"]
    assert w.failed("a", OutOfMemory(), out_of_memory=True) == ["refuse"]


def test_other_failures_move_nothing() -> None:
    w = World(Limits(fill=1.0))
    w.request(spared_order(20, 15))
    assert w.failed("a", OutOfMemory(), out_of_memory=False) == ["refuse"]


def test_who_comes_while_it_is_tried_again_gets_it_too() -> None:
    w = World(Limits(fill=1.0))
    w.request(spared_order(20, 15))
    w.failed("a", OutOfMemory(), out_of_memory=True)
    w.request(spared_order(20, 15))
    assert w.said == []
    assert w.started("a") == ["grant a", "grant a"]
