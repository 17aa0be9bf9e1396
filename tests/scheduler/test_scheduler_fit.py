"""Whether a model fits: the arithmetic device by device, the verdict and its sentence, on machines of numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from server.hardware.devices import Device
from server.messages.frames import LaunchPlan
from server.messages.models import LayerShape, ModelShape, ModelSpec
from server.messages.options import RunnerOptions
from server.scheduler import compute, sizes
from server.scheduler.fit import Fit, as_answer, fit_of, size_text
from server.scheduler.footprint import footprint
from server.scheduler.parts import corrected
from server.scheduler.placement import Machine, place
from server.settings import Settings

GIB = 2**30
MIB = 2**20
LAYER = LayerShape(
    weights_bytes=120 * MIB, keys=1024, values=1024, heads=32, query=4096, attention=4096, feed_forward=14336
)
TABLE = 128256 * 4096 * 18 // 32
MODEL = ModelShape(
    architecture="llama",
    block_count=32,
    embedding_length=4096,
    context_length=131072,
    vocab_size=128256,
    weights_bytes=32 * 120 * MIB + 2 * TABLE,
    layers=(LAYER,) * 32,
    input_bytes=TABLE,
    input_type="Q4_K",
)


def plan(**fields: Any) -> LaunchPlan:
    return LaunchPlan(model_path="", **{"context_tokens": 4096, "gpu_layers": -1, **fields})


def gpu(index: int, gib: float, **fields: Any) -> Device:
    size = int(gib * GIB)
    name = f"CUDA{index}"
    return Device(index, name, f"Card {index}", library="CUDA", total_bytes=size, free_bytes=size, **fields)


def fitted(*devices: Device, host_gib: float = 64, shape: ModelShape = MODEL, **settings: Any) -> Fit:
    options = RunnerOptions(num_ctx=settings.pop("num_ctx", 4096))
    room = {"cpu": int(host_gib * GIB), **{device.pool: device.free_bytes for device in devices}}
    spec = ModelSpec(name="m:latest", digest="d", path="/m", shape=shape)
    order = place(spec, options, Settings(**settings), Machine(devices, room, "linux"))
    return fit_of(order, devices, room)


# ---- the arithmetic ------------------------------------------------------------------------------------------------


def test_the_processor_alone_holds_everything() -> None:
    (host,) = footprint(MODEL, plan(), machine="x86_64").devices
    assert host.bytes_of("weights") == MODEL.weights_bytes
    assert host.bytes_of("kv") == 32 * 4096 * 2048 * 2
    assert host.bytes_of("output") == 128256 * 4
    assert host.bytes_of("overhead") > 0
    assert host.total_bytes - host.buffer_bytes == host.bytes_of("overhead")


def test_what_llama_cpp_reports_for_a_model_of_8_billion() -> None:
    """Reported by llama.cpp for this shape: 120, 308, 480, 1100 and 116.5 MiB."""
    settings: list[tuple[dict[str, Any], float]] = [
        ({}, 120), ({"flash_attention": "off"}, 308), ({"batch_tokens": 2048}, 480),
        ({"slots": 4, "flash_attention": "off"}, 1100), ({"context_tokens": 512}, 116.5),
    ]  # fmt: skip
    for fields, mib in settings:
        work = compute.work_of(MODEL, plan(**fields))
        assert work is not None
        assert work.total_bytes == pytest.approx(mib * MIB, rel=0.01), fields


def test_a_mixture_of_experts() -> None:
    """Reported by llama.cpp for 128 experts of 768, 8 used: 92 MiB; for 8 of 14336, 2 used: 204 MiB."""
    many = LayerShape(keys=512, values=512, heads=32, query=4096, attention=4096, experts_used=8,
                      expert_feed_forward=768)  # fmt: skip
    few = msgspec.structs.replace(LAYER, feed_forward=0, experts_used=2, expert_feed_forward=14336)
    for layer, width, mib in ((many, 2048, 92), (few, 4096, 204)):
        shape = msgspec.structs.replace(MODEL, embedding_length=width, layers=(layer,) * 32)
        work = compute.work_of(shape, plan())
        assert work is not None
        assert work.step == "experts"
        assert work.total_bytes == pytest.approx(mib * MIB, rel=0.01)


def test_cells_and_windows_are_rounded_as_the_engine_does() -> None:
    windowed = msgspec.structs.replace(LAYER, is_windowed=True)
    shape = msgspec.structs.replace(MODEL, layers=(windowed, LAYER) * 16, window_tokens=1000)
    odd = plan(context_tokens=1000, slots=3)
    assert sizes.cells_of(odd) == 3072
    assert sizes.window_cells_of(shape, odd) == 3072
    long = plan(context_tokens=32768, slots=2)
    assert sizes.window_cells_of(shape, long) == 2560  # 2 windows and a batch of 512, in steps of 256
    assert sum(sizes.cache_layer_bytes(shape, long)) == 16 * 2048 * 2 * (65536 + 2560)


def test_states_are_kept_per_sequence_whatever_the_context() -> None:
    layer = LayerShape(state=1000, inner=64)
    shape = msgspec.structs.replace(MODEL, layers=(layer,) * 32)
    for context in (512, 8192):
        assert sum(sizes.cache_layer_bytes(shape, plan(context_tokens=context, slots=4))) == 32 * 1000 * 4 * 4


def test_values_without_flash_attention_have_the_width_of_the_widest_layer() -> None:
    narrow = msgspec.structs.replace(LAYER, keys=512, values=512)
    shape = msgspec.structs.replace(MODEL, layers=(narrow, LAYER) * 16)
    lying = sum(sizes.cache_layer_bytes(shape, plan(flash_attention="off")))
    assert lying - sum(sizes.cache_layer_bytes(shape, plan())) == 16 * 512 * 2 * 4096


def test_a_gpu_takes_the_layers_and_the_processor_keeps_the_embeddings() -> None:
    taken = footprint(MODEL, plan(), {"gpu0": 1.0})
    card, host = taken.devices
    assert (taken.gpu_layers, taken.total_layers) == (33, 33)
    assert card.bytes_of("weights") == MODEL.weights_bytes - TABLE
    assert host.bytes_of("weights") == TABLE
    assert host.bytes_of("kv") == 0
    assert card.bytes_of("compute") == 112 * MIB  # 120 on the processor, which looks the embeddings up
    assert host.bytes_of("compute") == 20 * MIB


def test_several_gpus_have_several_batches_in_hand() -> None:
    one, two = (footprint(MODEL, plan(), dict.fromkeys(pools, 1.0)) for pools in (("gpu0",), ("gpu0", "gpu1")))
    more = two.devices[0].bytes_of("compute") - one.devices[0].bytes_of("compute")
    assert more == 3 * (8 + 4) * MIB
    partly = footprint(MODEL, plan(gpu_layers=20), {"gpu0": 1.0, "gpu1": 1.0})
    assert partly.devices[0].bytes_of("compute") == one.devices[0].bytes_of("compute")


def test_tied_embeddings_lie_on_both_sides() -> None:
    tied = msgspec.structs.replace(MODEL, is_tied=True, weights_bytes=MODEL.weights_bytes - TABLE)
    card, host = footprint(tied, plan(), {"gpu0": 1.0}).devices
    assert card.bytes_of("weights") == tied.weights_bytes
    assert host.bytes_of("weights") == TABLE


@pytest.mark.parametrize(("machine", "kind", "copies"), [
    ("x86_64", "Q4_K", 1), ("AMD64", "Q8_0", 0), ("arm64", "Q8_0", 1), ("aarch64", "F16", 0),
])  # fmt: skip
def test_tied_embeddings_are_laid_out_anew_for_the_processor(machine: str, kind: str, copies: int) -> None:
    tied = msgspec.structs.replace(MODEL, is_tied=True, weights_bytes=MODEL.weights_bytes - TABLE, input_type=kind)
    (host,) = footprint(tied, plan(gpu_layers=0), machine=machine).devices
    assert host.bytes_of("weights") == tied.weights_bytes + copies * TABLE


@pytest.mark.parametrize("layers", [0, 1, 2, 20, 32, 33])
def test_nothing_is_lost_when_layers_move(layers: int) -> None:
    taken = footprint(MODEL, plan(gpu_layers=layers), {"gpu0": 1.0, "gpu1": 3.0}, machine="x86_64")
    kept = sizes.cache_layer_bytes(MODEL, plan())
    assert taken.bytes_of("weights") == pytest.approx(MODEL.weights_bytes, abs=2)
    assert taken.bytes_of("kv") == pytest.approx(sum(kept), abs=2)
    assert taken.gpu_layers == layers
    if layers > 1:
        first, second, _ = taken.devices
        assert second.bytes_of("weights") == pytest.approx(3 * first.bytes_of("weights"), abs=4)
        assert second.bytes_of("kv") == pytest.approx(3 * first.bytes_of("kv"), abs=4)


def test_adapters_go_where_the_layers_are() -> None:
    plain = footprint(MODEL, plan(), {"gpu0": 1.0}).need()
    adapted = footprint(MODEL, plan(), {"gpu0": 1.0}, adapter_bytes=MIB).need()
    assert {pool: adapted[pool] - plain[pool] for pool in plain} == {"gpu0": MIB, "cpu": 0}


def test_tensors_that_are_not_loaded_do_not_count() -> None:
    ahead = msgspec.structs.replace(MODEL, unused_bytes=100 * MIB)
    assert footprint(ahead, plan()).bytes_of("weights") == MODEL.weights_bytes - 100 * MIB


def test_a_header_that_says_little_takes_its_weights() -> None:
    assert footprint(ModelShape(weights_bytes=5), plan()).need() == {"cpu": 5}


def test_what_was_measured_replaces_what_was_estimated() -> None:
    estimate = footprint(MODEL, plan(), {"gpu0": 1.0})
    known = corrected(estimate, {"gpu0": {"compute": 7, "kv": 8}, "cpu": {"overhead": 9}})
    card, host = known.devices
    assert (estimate.basis, known.basis) == ("about", "measured")
    assert (card.bytes_of("compute"), card.bytes_of("kv"), host.bytes_of("overhead")) == (7, 8, 9)
    assert card.bytes_of("weights") == estimate.devices[0].bytes_of("weights")


# ---- the answer ----------------------------------------------------------------------------------------------------


def test_whole_on_the_gpu() -> None:
    fit = fitted(gpu(0, 24))
    assert (fit.verdict, fit.gpu_layers, fit.total_layers) == ("gpu", 33, 33)
    assert [pool.name for pool in fit.pools] == ["Card 0", "system memory"]
    assert fit.sentence == (
        f"m:latest with 4096 tokens of context takes about {size_text(fit.total_bytes)}: "
        f"{size_text(fit.pools[0].total_bytes)} on Card 0 (25.8 GB free for models) and "
        f"{size_text(fit.pools[1].total_bytes)} of system memory (68.7 GB free for models). "
        "It fits, whole on the GPU."
    )


def test_partly_on_the_gpu() -> None:
    fit = fitted(gpu(0, 4))
    assert fit.verdict == "partly"
    assert 0 < fit.gpu_layers < 33
    assert f"{fit.gpu_layers} of its 33 layers fit on the GPU, the processor computes the rest" in fit.sentence


def test_on_the_processor() -> None:
    fit = fitted()
    assert fit.verdict == "cpu"
    assert fit.sentence == (
        f"m:latest with 4096 tokens of context takes about {size_text(fit.total_bytes)} of system memory "
        "(68.7 GB free for models). It fits; the processor computes it."
    )
    close = fitted(host_gib=fit.total_bytes / GIB / 0.9)
    assert close.verdict == "cpu"
    assert "close fit" in close.sentence


def test_too_large_is_advice_and_no_refusal() -> None:
    fit = fitted(gpu(0, 2), host_gib=2)
    assert fit.verdict == "too large"
    assert "more than there is" in fit.sentence
    assert fit.sentence.endswith("You may try it all the same.")


def test_an_integrated_gpu_shares_the_memory_of_the_system() -> None:
    assert fitted(gpu(0, 8, is_integrated=True), host_gib=8).verdict == "gpu"
    assert fitted(gpu(0, 8, is_integrated=True), host_gib=5).verdict == "too large"
    assert fitted(gpu(0, 8), host_gib=5).verdict == "gpu"


def test_what_is_asked_for_changes_the_answer() -> None:
    plain = fitted()
    assert fitted(num_ctx=8192).total_bytes > plain.total_bytes
    assert fitted(kv_cache_type="q4_0").total_bytes < plain.total_bytes
    several = fitted(num_parallel=4)
    assert (several.slots, plain.slots) == (4, 1)
    assert "for 4 answers at once" in several.sentence
    kv = {fit: sum(part.bytes for part in fit.pools[0].parts if part.kind == "kv") for fit in (plain, several)}
    assert kv[several] == 4 * kv[plain]


def test_the_answer_as_json_adds_up() -> None:
    answer = as_answer(fitted(gpu(0, 4)))
    assert answer["total_bytes"] == sum(pool["total_bytes"] for pool in answer["pools"])
    for pool in answer["pools"]:
        assert pool["total_bytes"] == sum(part["bytes"] for part in pool["parts"])
        assert all(part["arithmetic"] for part in pool["parts"])
