"""What each layer keeps, from headers of many architectures; and headers of which only the beginning is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import InvalidGguf
from server.messages.models import ModelShape
from server.store.gguf import read_header, read_header_prefix
from tests.store.gguf_builder import BOOL, U32, GgufFile, Numbers, Strings, TensorEntry, small_model


def shape(architecture: str, layers: int = 8, tensors: tuple[TensorEntry, ...] = (), **keys: Any) -> ModelShape:
    """The shape of a model with 4 heads of 8, 2 of them for keys; `keys` are the architecture's."""
    facts: dict[str, Any] = {
        "block_count": layers, "embedding_length": 32, "feed_forward_length": 64, "attention__head_count": 4,
        "attention__head_count_kv": 2, **keys,
    }  # fmt: skip
    pairs: list[tuple[str, Any]] = [("general.architecture", architecture)]
    pairs += [(f"{architecture}.{key.replace('__', '.')}", value) for key, value in facts.items()]
    data = GgufFile(pairs, list(tensors) or [TensorEntry("token_embd.weight", (32, 3), 1)]).encoded()
    header = read_header_prefix(data, len(data))
    assert header is not None
    return header.shape()


def windowed(found: ModelShape) -> str:
    return "".join("w" if layer.is_windowed else "." for layer in found.layers)


@pytest.mark.parametrize(
    ("architecture", "keys", "pattern", "window"),
    [
        ("llama", {"attention__sliding_window": 512}, "........", 0),
        ("gemma2", {}, "w.w.w.w.", 4096),
        ("gemma2", {"attention__sliding_window": 512}, "w.w.w.w.", 512),
        ("gemma3", {"attention__sliding_window": 512}, "wwwww.ww", 512),
        ("gemma3", {}, "........", 0),
        ("gemma3", {"attention__sliding_window": 512, "attention__sliding_window_pattern": 3}, "ww.ww.ww", 512),
        ("gpt-oss", {"attention__sliding_window": 128}, "w.w.w.w.", 128),
        ("cohere2", {"attention__sliding_window": 4096}, "www.www.", 4096),
        ("cohere2moe", {"attention__sliding_window": 4096}, ".www.www", 4096),
        ("llama4", {}, "www.www.", 8192),
        ("llama4", {"attention__sliding_window": 0}, "........", 0),
        ("smallthinker", {"attention__sliding_window": 100}, ".www.www", 4096),
        ("phi3", {"attention__sliding_window": 2048}, "........", 0),
        ("exaone4", {"attention__sliding_window": 2048}, "........", 0),
        ("gemma4", {"attention__sliding_window": 512,
                    "attention__sliding_window_pattern": Numbers(BOOL, [True, False] * 4)}, "w.w.w.w.", 512),
    ],
)  # fmt: skip
def test_windows(architecture: str, keys: dict[str, Any], pattern: str, window: int) -> None:
    found = shape(architecture, **keys)
    assert (windowed(found), found.window_tokens) == (pattern, window)


def test_keys_and_values_of_a_cell() -> None:
    assert {(layer.keys, layer.values) for layer in shape("llama").layers} == {(16, 16)}
    wide = shape("llama", attention__key_length=24, attention__value_length=10)
    assert {(layer.keys, layer.values, layer.query, layer.attention) for layer in wide.layers} == {(48, 20, 96, 40)}
    own = shape("gemma3", attention__sliding_window=64, attention__key_length=8, attention__key_length_swa=4)
    assert [layer.keys for layer in own.layers[4:6]] == [8, 16]


def test_latent_attention_keeps_keys_alone() -> None:
    found = shape("deepseek2", attention__head_count_kv=1, attention__key_length=576, attention__value_length=512,
                  attention__key_length_mla=192, attention__value_length_mla=128)  # fmt: skip
    assert {(layer.keys, layer.values) for layer in found.layers} == {(576, 0)}


def test_layers_without_a_cache_of_their_own() -> None:
    assert all(layer.keys == 0 for layer in shape("bert").layers)
    assert not shape("bert").has_cache
    shared = shape("gemma4", attention__sliding_window=512, attention__shared_kv_layers=3,
                   attention__sliding_window_pattern=Numbers(BOOL, [True] * 8))  # fmt: skip
    assert [bool(layer.keys) for layer in shared.layers] == [True] * 5 + [False] * 3
    ahead = shape("qwen3", nextn_predict_layers=1, tensors=(TensorEntry("blk.7.attn_q.weight", (32, 4), 1),))
    assert [bool(layer.keys) for layer in ahead.layers] == [True] * 7 + [False]
    assert ahead.unused_bytes == 32 * 4 * 2


def test_recurrent_layers() -> None:
    scan = {"ssm__conv_kernel": 4, "ssm__inner_size": 64, "ssm__state_size": 16}
    mamba = shape("mamba", attention__head_count=0, attention__head_count_kv=0, **scan)
    assert {(layer.state, layer.keys) for layer in mamba.layers} == {(3 * 64 + 16 * 64, 0)}
    grouped = shape("mamba2", ssm__group_count=2, **scan)
    assert grouped.layers[0].state == 3 * (64 + 2 * 2 * 16) + 16 * 64
    mixed = shape("jamba", attention__head_count_kv=Numbers(U32, [0, 0, 0, 2] * 2), **scan)
    assert [(bool(layer.state), bool(layer.keys)) for layer in mixed.layers[2:4]] == [(True, False), (False, True)]
    both = shape("falcon-h1", **scan)
    assert all(layer.state and layer.keys for layer in both.layers)
    every_fourth = shape("qwen3next", **scan)
    assert [bool(layer.keys) for layer in every_fourth.layers] == [False, False, False, True] * 2
    rwkv = shape("rwkv7", wkv__head_size=8, attention__head_count=0)
    assert rwkv.layers[0].state == 32 * (2 + 8)


def test_feed_forward_and_experts() -> None:
    gate = TensorEntry("blk.0.ffn_gate.weight", (32, 64), 1)
    plain = shape("llama", 2, (gate, TensorEntry("blk.1.ffn_up.weight", (32, 64), 1)))
    assert [(layer.feed_forward, layer.is_gated) for layer in plain.layers] == [(64, True), (64, False)]
    fused = shape("phi3", 1, (TensorEntry("blk.0.ffn_up.weight", (32, 128), 1),))
    assert fused.layers[0].is_gated
    experts = {"expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 16}
    found = shape("deepseek2", leading_dense_block_count=1, expert_shared_count=2, **experts)
    assert [(layer.experts_used, layer.feed_forward) for layer in found.layers[:2]] == [(0, 64), (2, 32)]


def test_embeddings_tied_or_not() -> None:
    table, output = TensorEntry("token_embd.weight", (32, 3), 1), TensorEntry("output.weight", (32, 3), 1)
    tied = shape("llama", tensors=(table,))
    assert (tied.is_tied, tied.input_bytes, tied.input_type) == (True, 192, "F16")
    assert not shape("llama", tensors=(table, output)).is_tied
    assert not shape("bert", tensors=(table,), pooling_type=1).is_tied


@pytest.mark.parametrize("count", [0, 1025, 999_999])
def test_a_count_of_layers_that_nobody_has_makes_none(count: int) -> None:
    assert shape("llama", count).layers == ()


KEYS = (
    "block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.sliding_window", "attention.sliding_window_pattern", "expert_used_count", "expert_count",
    "ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "nextn_predict_layers", "attention.shared_kv_layers",
)  # fmt: skip
ARCHITECTURES = ("llama", "gemma2", "gemma3", "gemma4", "qwen3next", "mamba", "jamba", "lfm2", "nemotron_h")


@given(
    st.dictionaries(st.sampled_from(KEYS), st.integers(0, 2**32 - 1) | st.integers(1, 9) | st.text(max_size=3)),
    st.sampled_from(ARCHITECTURES),
)
@settings(max_examples=300, deadline=None)
def test_any_header_gives_sizes_that_are_none_or_positive(keys: dict[str, Any], architecture: str) -> None:
    pairs = [("general.architecture", architecture), *((f"{architecture}.{key}", keys[key]) for key in keys)]
    data = GgufFile(pairs, [TensorEntry("token_embd.weight", (32, 3), 1)]).encoded()
    header = read_header_prefix(data, len(data))
    assert header is not None
    for layer in header.shape().layers:
        assert min(layer.keys, layer.values, layer.state, layer.feed_forward, layer.query) >= 0


# ---- the beginning of a file ---------------------------------------------------------------------------------------


def test_any_beginning_is_the_header_or_too_short(tmp_path: Path) -> None:
    tokens = Strings([f"word{number}" for number in range(3000)])
    data = small_model(**{"tokenizer__ggml__tokens": tokens}).encoded()
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    whole = read_header(path)
    end = next(n for n in range(len(data)) if n >= whole.data_offset)
    for length in [*range(200), *range(200, end, 997), end - 33]:
        assert read_header_prefix(data[:length], len(data)) is None
    for length in (end, end + 1, len(data)):
        header = read_header_prefix(data[:length], len(data))
        assert header is not None
        assert header.shape() == whole.shape()


def test_a_beginning_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(InvalidGguf, match="magic"):
        read_header_prefix(b"PK\x03\x04 and so on", 10**9)
    data = small_model().encoded()
    with pytest.raises(InvalidGguf, match="exceeds file size"):
        read_header_prefix(data, len(data) - 100)
