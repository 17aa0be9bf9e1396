"""Where and how a model is loaded, with machines made up of numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from server.hardware.devices import Device
from server.messages.frames import LaunchPlan
from server.messages.models import ModelShape, ModelSpec
from server.messages.options import RunnerOptions
from server.messages.patchwork import Patch, Patchwork
from server.scheduler.events import Candidate, Order
from server.scheduler.placement import Machine, place
from server.scheduler.sizes import cache_layer_bytes, layers_that_fit, offloaded_bytes
from server.settings import Settings

GIB = 2**30
SHAPE = ModelShape(
    architecture="llama",
    block_count=32,
    embedding_length=4096,
    head_count=32,
    head_count_kv=(8,),
    context_length=131072,
    weights_bytes=4 * GIB,
)
PLAN = LaunchPlan(model_path="", context_tokens=4096)


def changed(shape: ModelShape, **changes: Any) -> ModelShape:
    return msgspec.structs.replace(shape, **changes)


def gpu(index: int, gib: float, library: str = "CUDA", **fields: Any) -> Device:
    size = int(gib * GIB)
    return Device(index, f"{library}{index}", library=library, total_bytes=size, free_bytes=size, **fields)


def machine(*devices: Device, host_gib: float = 64, platform: str = "linux") -> Machine:
    return Machine(devices, {"cpu": int(host_gib * GIB), **{d.pool: d.free_bytes for d in devices}}, platform)


def spec(**fields: Any) -> ModelSpec:
    shape = fields.pop("shape", SHAPE)
    return ModelSpec(**{"name": "m", "digest": "d", "path": "/m", "shape": shape, **fields})


def placed(
    on: Machine, model: ModelSpec | None = None, settings: dict[str, Any] | None = None, **options: Any
) -> Order:
    shift = options.pop("shift", None)
    return place(model or spec(), RunnerOptions(**options), Settings(**(settings or {})), on, shift=shift)


def best(on: Machine, *args: Any, **options: Any) -> Candidate:
    return placed(on, *args, **options).candidates[0]


# ---- context -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gibs", "context"),
    [((), 4096), ((8,), 4096), ((22.9,), 4096), ((24,), 32768), ((12, 12), 32768), ((47,), 131072), ((80,), 131072)],
)
def test_the_default_context_follows_the_memory_of_all_gpus(gibs: tuple[float, ...], context: int) -> None:
    """runtime 66; the model was trained for 131072."""
    order = placed(machine(*(gpu(index, gib) for index, gib in enumerate(gibs))))
    assert order.setup.num_ctx == context
    assert order.setup.num_ctx_automatic
    assert order.notes == ()


def test_the_largest_tier() -> None:
    """runtime 66."""
    model = spec(shape=changed(SHAPE, context_length=0))
    assert placed(machine(gpu(0, 80)), model).setup.num_ctx == 262144


def test_memory_kept_for_others_lowers_the_tier_and_never_wraps() -> None:
    assert placed(machine(gpu(0, 24)), settings={"gpu_overhead_bytes": 2 * GIB}).setup.num_ctx == 4096
    assert placed(machine(gpu(0, 8)), settings={"gpu_overhead_bytes": 20 * GIB}).setup.num_ctx == 4096


def test_context_precedence() -> None:
    """runtime 67; request and model are merged before."""
    settings = {"context_length": 8192}
    assert placed(machine(gpu(0, 80)), settings=settings).setup.num_ctx == 8192
    order = placed(machine(gpu(0, 80)), settings=settings, num_ctx=1000)
    assert (order.setup.num_ctx, order.setup.num_ctx_automatic) == (1000, False)


def test_context_above_training_is_clamped_and_noted() -> None:
    """runtime 68."""
    order = placed(machine(), num_ctx=200_000)
    assert order.setup.num_ctx == 131072
    assert order.notes[0].startswith("requested context size too large for model")


@pytest.mark.parametrize(("vision", "context"), [(False, 4), (True, 2048)])
@pytest.mark.parametrize("asked", [1, -5])
def test_context_has_a_floor(vision: bool, context: int, asked: int) -> None:
    """runtime 69, native-api 109."""
    assert placed(machine(), spec(has_vision=vision), num_ctx=asked).setup.num_ctx == context


def test_an_automatic_context_has_a_smaller_fallback() -> None:
    """runtime 89."""
    order = placed(machine(gpu(0, 80)))
    assert [candidate.plan.context_tokens for candidate in order.fallback] == [32768]
    assert placed(machine(gpu(0, 24))).fallback[0].plan.context_tokens == 4096
    assert placed(machine(gpu(0, 8))).fallback == ()
    assert placed(machine(gpu(0, 80)), num_ctx=65536).fallback == ()


# ---- batch, slots, shift -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("context", "batch"), [(4096, 512), (8192, 1024), (65536, 2048)])
def test_automatic_batch(context: int, batch: int) -> None:
    """runtime 72."""
    assert best(machine(gpu(0, 80)), num_ctx=context).plan.batch_tokens == batch


def test_a_large_batch_needs_much_memory() -> None:
    assert best(machine(gpu(0, 16)), num_ctx=65536).plan.batch_tokens == 1024
    assert best(machine(gpu(0, 15.5)), num_ctx=65536).plan.batch_tokens == 512


def test_batches_that_are_asked_for() -> None:
    assert best(machine(), num_batch=64).plan.batch_tokens == 64
    assert best(machine(), num_batch=2**40, num_ctx=4096).plan.batch_tokens == 4096
    assert best(machine(), spec(can_complete=False), num_ctx=100).plan.batch_tokens == 100
    assert best(machine(), spec(can_complete=False), num_ctx=8192).plan.batch_tokens == 2048


def test_batch_without_flash_attention() -> None:
    off = {"flash_attention": False}
    assert best(machine(gpu(0, 8)), settings=off, num_ctx=8192).plan.batch_tokens == 256
    assert best(machine(gpu(0, 24)), settings=off, num_ctx=8192).plan.batch_tokens == 512


def test_slots() -> None:
    """runtime 56, 57, 58; the engine multiplies"""
    four = {"num_parallel": 4}
    plan = best(machine(), settings=four, num_ctx=4096).plan
    assert (plan.slots, plan.context_tokens) == (4, 4096)
    assert best(machine(), spec(can_complete=False), four).plan.slots == 1
    order = placed(machine(), spec(shape=changed(SHAPE, architecture="qwen3vl")), four)
    assert order.candidates[0].plan.slots == 1
    assert order.notes == ("model architecture does not currently support parallel requests",)


def test_shift() -> None:
    deepseek = spec(shape=changed(SHAPE, architecture="deepseek2"))
    assert best(machine()).plan.shift
    assert not best(machine(), deepseek).plan.shift
    assert best(machine(), deepseek, shift=True).plan.shift
    assert not placed(machine(), shift=False).setup.shift


# ---- where ---------------------------------------------------------------------------------------------------------


def test_the_processor_alone() -> None:
    """runtime 78."""
    for on, options in ((machine(), {}), (machine(gpu(0, 24)), {"num_gpu": 0})):
        candidate = best(on, num_ctx=4096, **options)
        assert candidate.plan.device_indices == ()
        assert candidate.plan.gpu_layers == 0
        assert candidate.need == {"cpu": 4 * GIB + 512 * 2**20}
        assert not candidate.plan.use_mmap


def test_a_model_that_fits_on_one_gpu_uses_one() -> None:
    """runtime 75 and 83."""
    order = placed(machine(gpu(0, 8), gpu(1, 12)), num_ctx=4096)
    assert [candidate.plan.device_indices for candidate in order.candidates] == [(1,), (0,), (0, 1)]
    assert {candidate.plan.gpu_layers for candidate in order.candidates} == {-1}
    assert order.candidates[0].need == {"gpu1": 4 * GIB + 512 * 2**20}


def test_spread_uses_all() -> None:
    """runtime 76."""
    order = placed(machine(gpu(0, 12), gpu(1, 24)), settings={"sched_spread": True}, num_ctx=4096)
    (candidate,) = order.candidates
    assert candidate.plan.device_indices == (0, 1)
    assert candidate.need["gpu1"] == pytest.approx(2 * candidate.need["gpu0"], rel=0.001)


def test_what_fits_on_no_single_gpu_uses_the_best_library() -> None:
    """runtime 77."""
    devices = (gpu(0, 6, "Vulkan"), gpu(1, 5), gpu(2, 5), gpu(3, 30, "Vulkan", is_integrated=True))
    model = spec(shape=changed(SHAPE, weights_bytes=26 * GIB))
    assert placed(machine(*devices), model, num_ctx=4096).candidates[0].plan.device_indices == (0, 3)
    assert placed(machine(*devices[:3]), model, num_ctx=4096).candidates[0].plan.device_indices == (1, 2)


def test_discrete_before_integrated() -> None:
    order = placed(machine(gpu(0, 30, "Vulkan", is_integrated=True), gpu(1, 12)), num_ctx=4096)
    assert [candidate.plan.device_indices for candidate in order.candidates] == [(1,), (0,)]


def test_main_gpu_is_used_alone_and_a_wrong_one_is_noted() -> None:
    on = machine(gpu(4, 8), gpu(5, 24))
    assert [candidate.plan.device_indices for candidate in placed(on, main_gpu=0).candidates] == [(4,)]
    order = placed(on, num_ctx=4096, main_gpu=7)
    assert order.notes == ("there is no GPU 7; the best ones are used",)


def test_what_does_not_fit_stays_with_the_processor() -> None:
    candidate = best(machine(gpu(0, 4)), num_ctx=4096)
    assert 0 < candidate.plan.gpu_layers < 33
    assert candidate.need["gpu0"] <= 4 * GIB
    assert sum(candidate.need.values()) == SHAPE.weights_bytes + sum(cache_layer_bytes(SHAPE, candidate.plan))


def test_layers_that_are_asked_for_are_passed_on() -> None:
    candidate = best(machine(gpu(0, 24)), num_ctx=4096, num_gpu=10)
    assert candidate.plan.gpu_layers == 10
    assert candidate.need["gpu0"] == sum(offloaded_bytes(SHAPE, candidate.plan, 10))
    assert best(machine(gpu(0, 24)), num_gpu=99).need.keys() == {"gpu0"}


def test_layers_that_fit_take_no_more_than_the_room() -> None:
    for gib in (0, 1, 2, 3, 4, 5):
        layers = layers_that_fit(SHAPE, PLAN, gib * GIB)
        assert sum(offloaded_bytes(SHAPE, PLAN, layers)) <= gib * GIB
    assert layers_that_fit(SHAPE, PLAN, 100 * GIB) == 33


# ---- sizes, attention, mapping -------------------------------------------------------------------------------------


def test_kv_size_by_type_and_layer() -> None:
    def kv(shape: ModelShape, kv_type: str) -> int:
        return sum(cache_layer_bytes(shape, LaunchPlan(model_path="", context_tokens=8192, kv_type=kv_type)))

    assert kv(SHAPE, "f16") == 32 * 8 * 128 * 2 * 8192 * 2
    assert kv(SHAPE, "q8_0") == kv(SHAPE, "f16") * 34 // 64
    halved = changed(SHAPE, head_count_kv=(8, 0) * 16)
    assert kv(halved, "f16") == kv(SHAPE, "f16") // 2
    assert kv(ModelShape(weights_bytes=5), "f16") == 0


@pytest.mark.parametrize(("setting", "flash"), [(False, "off"), (True, "on"), (None, "auto")])
def test_flash_attention(setting: bool | None, flash: str) -> None:
    """runtime 84."""
    assert best(machine(gpu(0, 24, compute="8.9")), settings={"flash_attention": setting}).plan.flash_attention == flash


@pytest.mark.parametrize(("compute", "flash"), [("5.2", "off"), ("6.0", "auto"), ("7.2", "off"), ("", "auto")])
def test_flash_attention_by_capability(compute: str, flash: str) -> None:
    assert best(machine(gpu(0, 24, compute=compute))).plan.flash_attention == flash


def test_kv_type() -> None:
    """runtime 85; quantised without flash attention would be refused by the engine."""
    assert best(machine(), settings={"kv_cache_type": "q8_0"}).plan.kv_type == "q8_0"
    order = placed(machine(), settings={"kv_cache_type": "q8_0", "flash_attention": False})
    assert order.candidates[0].plan.kv_type == "f16"
    assert len(order.notes) == 1


@pytest.mark.parametrize(
    ("on", "mapped"),
    [
        (machine(gpu(0, 24)), True),
        (machine(gpu(0, 24), platform="win32"), False),
        (machine(gpu(0, 24, "Metal"), platform="darwin"), True),
        (machine(gpu(0, 4, "Metal"), platform="darwin"), False),
        (machine(gpu(0, 24), host_gib=8), False),
    ],
    ids=["Linux", "runtime 86: Windows with CUDA", "Metal", "Metal with a part", "little system memory"],
)
def test_memory_mapping(on: Machine, mapped: bool) -> None:
    assert best(on, num_ctx=4096).plan.use_mmap is mapped
    assert best(on, num_ctx=4096, use_mmap=not mapped).plan.use_mmap is not mapped


def test_what_is_put_together_while_it_is_read_is_never_mapped() -> None:
    patches = Patchwork("/m", (Patch(b"head"), Patch(offset=9, size=100)))
    other = Patchwork("/m", (Patch(b"other"),))
    plan = best(
        machine(gpu(0, 24)),
        spec(model_patches=patches, projector_path="/m", projector_patches=other),
        num_ctx=4096,
        use_mmap=True,
    ).plan
    assert not plan.use_mmap
    assert (plan.model_patches, plan.projector_patches) == (patches, other)
