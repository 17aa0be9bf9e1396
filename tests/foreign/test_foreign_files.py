"""The new file, byte by byte: what llama.cpp reads of an old one is what a file made for it holds."""

from __future__ import annotations

import pathlib
from typing import Any

import gguf
import numpy as np
import pytest

from server.engine import patchwork
from server.messages.patchwork import Patchwork
from server.store.foreign import loadable
from server.store.gguf import read_header
from tests.foreign import old

OWN = {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"}


def contents(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keys and tensors as the gguf package reads them, which is nobody's here."""
    reader = gguf.GGUFReader(path)
    keys = {key: field.contents() for key, field in reader.fields.items() if key not in OWN}
    tensors = {each.name: (each.tensor_type, tuple(each.shape), each.data.tobytes()) for each in reader.tensors}
    return keys, tensors


def check(work: Patchwork | None, expected: pathlib.Path, folder: pathlib.Path) -> None:
    assert work is not None
    with patchwork.written(work, folder) as path:
        keys, tensors = contents(path)
    wanted_keys, wanted_tensors = contents(expected)
    assert tensors == wanted_tensors
    assert {key: keys.get(key) for key in wanted_keys} == wanted_keys


@pytest.mark.parametrize("family", sorted(old.FAMILIES))
def test_it_holds_the_same(family: str, tmp_path: pathlib.Path) -> None:
    make_old, make_new, make_projector = old.FAMILIES[family]
    found = loadable(read_header(make_old().write(tmp_path / "old.gguf")), None)
    check(found.patches, make_new().write(tmp_path / "new.gguf"), tmp_path)
    assert found.patches is not None
    assert found.patches.is_plain
    if make_projector is not None:
        check(found.projector_patches, make_projector().write(tmp_path / "eye.gguf"), tmp_path)


def test_attention_of_several_types_becomes_one(tmp_path: pathlib.Path) -> None:
    """Published ones have values in another type than queries and keys."""
    whole, name = old.qwen3vl(), "v.blk.0.attn_{}.weight"
    halves = {name.format(part): whole.tensors[name.format(part)].astype(np.float16) for part in "qk"}
    found = loadable(read_header(whole.with_tensors(**halves).write(tmp_path / "old.gguf")), None)
    assert found.projector_patches is not None
    with patchwork.written(found.projector_patches, tmp_path) as path:
        kind, shape, data = contents(path)[1]["v.blk.0.attn_qkv.weight"]
    parts = [halves.get(name.format(part), whole.tensors[name.format(part)]).astype(np.float32) for part in "qkv"]
    assert kind == gguf.GGMLQuantizationType.F32
    assert data == np.concatenate(parts).tobytes()
    assert shape == (parts[0].shape[1], 3 * parts[0].shape[0])


@pytest.mark.parametrize("family", ["gptoss", "olmo3", "gemma3", "qwen25vl"])
def test_its_cache_is_known_before_it_is_translated(family: str, tmp_path: pathlib.Path) -> None:
    """A file is asked about before it has been downloaded, when there is nothing but its first bytes."""
    make_old, make_new, _ = old.FAMILIES[family]
    found, expected = (read_header(make().write(tmp_path / "x.gguf")).shape() for make in (make_old, make_new))
    assert [each.is_windowed for each in found.layers] == [each.is_windowed for each in expected.layers]
    assert [each.keys for each in found.layers] == [each.keys for each in expected.layers]
    assert any(each.is_windowed for each in found.layers) or family == "qwen25vl"
