"""What a projector's header says of its memory, and which projectors are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from server.errors import InvalidGguf
from server.messages.models import EncoderShape, ProjectorShape
from server.messages.names import ModelName
from server.store import Store, manifest
from server.store.gguf_projector import projector_shape
from server.store.manifest import Layer, Manifest
from tests.store.gguf_builder import GgufFile, small_model
from tests.store.projector_builder import header_of, projector_file


def encoder(file: GgufFile, text_width: int = 0) -> EncoderShape:
    (found,) = projector_shape(header_of(file), text_width).encoders
    return found


# ---- sizes ---------------------------------------------------------------------------------------------------------


def test_images_of_one_size() -> None:
    found = encoder(
        projector_file(
            width=1152, heads=16, feed_forward=4304, image_size=896, clip__projector_type="gemma3", projection_dim=2560
        )
    )
    assert found == EncoderShape(
        sense="vision", kind="gemma3", positions=4096, most_positions=4096, position_inputs=588, embedding_length=1152,
        head_count=16, feed_forward=4304, projection_length=2560, image_tokens=256, is_whole=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "fields", "positions", "most", "tokens"),
    [
        ("qwen2vl_merger", {"image_size": 560}, 8464, 16384, 4096),
        ("qwen3vl_merger", {"patch_size": 16, "spatial_merge_size": 2}, 8464, 16384, 4096),
        ("pixtral", {"image_size": 1540, "spatial_merge_size": 2}, 1024, 4096, 1024),
        ("gemma4v", {"patch_size": 16}, 2304, 10080, 1120),
        ("gemma4uv", {"patch_size": 16}, 256, 1120, 1120),
        ("deepseek4v", {"projector__scale_factor": 3}, 2304, 3456, 384),
        ("lfm2", {"patch_size": 16, "projector__scale_factor": 2}, 1024, 1024, 256),
        ("internvl", {"image_size": 448, "projector__scale_factor": 2}, 1024, 1024, 256),
        ("paddleocr", {"image_max_pixels": 28 * 28 * 1000}, 3136, 4000, 1000),
        ("lightonocr", {"image_size": 1540, "spatial_merge_size": 2}, 1024, 12100, 3025),
        ("a kind of tomorrow", {"image_size": 280}, 400, 400, 400),
    ],
)
def test_how_large_images_are(kind: str, fields: dict[str, Any], positions: int, most: int, tokens: int) -> None:
    found = encoder(projector_file(clip__projector_type=kind, **fields))
    assert (found.positions, found.most_positions, found.image_tokens) == (positions, most, tokens)


def test_sounds() -> None:
    found = encoder(projector_file("audio", width=1280, heads=20, feed_forward=5120, clip__projector_type="ultravox"))
    assert (found.sense, found.positions, found.most_positions, found.position_inputs) == ("audio", 1500, 1500, 256)
    assert (found.embedding_length, found.head_count, found.feed_forward) == (1280, 20, 5120)
    assert not found.is_whole


def test_images_and_sounds_in_one_file() -> None:
    both = projector_file(projector_type="gemma4v")
    sound = projector_file("audio", projector_type="gemma4a")
    both.metadata += [pair for pair in sound.metadata if pair[0].startswith("clip.")]
    found = projector_shape(header_of(both), 0)
    assert [(each.sense, each.kind) for each in found.encoders] == [("vision", "gemma4v"), ("audio", "gemma4a")]


def test_sounds_that_llama_cpp_does_not_load() -> None:
    both = projector_file(projector_type="gemma3nv", clip__has_audio_encoder=True)
    assert [each.sense for each in projector_shape(header_of(both), 0).encoders] == ["vision"]


def test_what_the_tensors_say() -> None:
    found = encoder(projector_file(is_gated=True, kept=3, feed_forward=96, feed_forward_length=0, n_wa_pattern=8))
    assert (found.is_gated, found.kept_outputs, found.feed_forward, found.has_mask) == (True, 3, 96, True)


def test_a_file_that_does_not_say_its_kind_is_llava() -> None:
    """model-store 18.4, 22: the first projectors had no kind."""
    found = encoder(projector_file(image_size=336))
    assert (found.kind, found.positions, found.image_tokens, found.is_whole) == ("mlp", 576, 576, False)


@pytest.mark.parametrize(("kind", "text_width", "is_whole"), [
    ("gemma3", 2560, True), ("gemma4v", 2560, False), ("gemma4v", 1536, False), ("gemma4v", 5376, True),
    ("gemma4uv", 2560, True), ("qwen2vl_merger", 5376, False),
])  # fmt: skip
def test_whose_images_cannot_be_split(kind: str, text_width: int, is_whole: bool) -> None:
    assert encoder(projector_file(clip__projector_type=kind), text_width).is_whole is is_whole


def test_all_weights_count() -> None:
    header = header_of(projector_file())
    assert projector_shape(header, 0).weights_bytes == sum(tensor.size for tensor in header.tensors)


# ---- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"clip__has_vision_encoder": None}, "no encoder"),
        ({"clip__has_vision_encoder": False}, "no encoder"),
        ({"patch_size": 0}, "how large images are"),
        ({"patch_size": None}, "how large images are"),
        ({"patch_size": 9000}, "how large images are"),
        ({"image_size": 2**32 - 1}, "how large images are"),
        ({"embedding_length": 0}, "how wide"),
    ],
)
def test_what_llama_cpp_cannot_use(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidGguf, match=words):
        projector_shape(header_of(projector_file(**fields)), 0)


def test_files_of_another_time_or_computer() -> None:
    for odd in ({"order": ">"}, {"version": 1}):
        file = projector_file()
        for name, value in odd.items():
            setattr(file, name, value)
        with pytest.raises(InvalidGguf, match="does not load"):
            projector_shape(header_of(file), 0)


# ---- a model with a projector --------------------------------------------------------------------------------------


@pytest.fixture
def stored(store: Store, upload: Callable[[bytes], str]) -> Callable[..., ModelName]:
    """A model of two layers with these projectors; its name."""

    def layer(media_type: str, data: bytes) -> Layer:
        return Layer(media_type=media_type, digest=upload(data), size=len(data))

    def put(*projectors: bytes, name: str = "m") -> ModelName:
        layers = [layer(manifest.MODEL, small_model().encoded())]
        layers += [layer(manifest.PROJECTOR, data) for data in projectors]
        config = json.dumps({"model_format": "gguf", "model_family": "llama"}).encode()
        made = Manifest(config=layer(manifest.CONFIG_TYPE, config), layers=tuple(layers))
        model = ModelName.parse(name)
        with store.changing():
            store.replace(model, made)
        return model

    return put


def test_the_first_projector_is_used(store: Store, stored: Callable[..., ModelName]) -> None:
    """model-store 172."""
    first = projector_file(clip__projector_type="gemma3").encoded()
    spec = store.get(stored(first, projector_file(image_size=56).encoded())).spec()
    model = store.get(ModelName.parse("m"))
    assert len(model.projector_paths) == 2
    assert spec.projector_path == str(model.projector_paths[0])
    assert spec.projector.encoders[0].kind == "gemma3"
    assert spec.has_vision


def test_models_of_the_same_weights_differ_in_their_projectors(store: Store, stored: Callable[..., ModelName]) -> None:
    specs = [
        store.get(stored(*projectors, name=name)).spec()
        for name, projectors in (
            ("plain", ()), ("one", [projector_file().encoded()]), ("two", [projector_file(image_size=56).encoded()]),
        )
    ]  # fmt: skip
    assert len({spec.path for spec in specs}) == 1
    assert len({spec.projector_path for spec in specs}) == 3
    assert (specs[0].projector_path, specs[0].projector, specs[0].has_vision) == ("", ProjectorShape(), False)


@pytest.mark.parametrize("data", [b"", b"GGUF", b"no projector at all", small_model().encoded()])
def test_a_projector_that_is_damaged_or_none(data: bytes, store: Store, stored: Callable[..., ModelName]) -> None:
    model = store.get(stored(data))
    with pytest.raises(InvalidGguf, match="m:latest cannot be run: "):
        model.spec()


def test_a_projector_that_is_gone(store: Store, stored: Callable[..., ModelName]) -> None:
    model = store.get(stored(projector_file().encoded()))
    model.projector_paths[0].unlink()
    with pytest.raises(InvalidGguf, match="a file of it is missing or damaged"):
        model.spec()
