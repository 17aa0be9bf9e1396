"""Models that were built for another engine are refused in words, and their files stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from server.errors import Unsupported
from server.store import Store
from tests.store.gguf_builder import GgufFile, TensorEntry

EPSILON = {"attention.layer_norm_rms_epsilon": 0.000001}


@pytest.mark.parametrize(
    ("family", "keys", "tensors", "word"),
    [
        ("gptoss", {}, (), "ffn_gate_exps.weight is missing"),
        ("gemma3", EPSILON, (), ""),
        ("gemma3", EPSILON, ("dense.0.weight",), "dense.0.weight has 1 dimensions"),
        ("glm4moelite", {}, (), "attention.kv_lora_rank is missing"),
        ("mllama", {}, (), "architecture is mllama"),
        ("llama4", {}, ("v.patch_embd.weight",), "vision"),
        ("lfm2", {}, ("output_norm.weight",), "ffn_gate.weight is missing"),
        ("lfm2", {}, ("token_embd_norm.weight", "output_norm.weight"), ""),
        ("llama", {}, (), ""),
    ],
)
def test_foreign_models(
    store: Store,
    upload: Callable[[bytes], str],
    create: Callable[..., list[str]],
    family: str,
    keys: dict[str, Any],
    tensors: tuple[str, ...],
    word: str,
) -> None:
    """model-store 109."""
    named = {"block_count": 1, "embedding_length": 32, "attention.head_count": 4, **keys}
    metadata = [("general.architecture", family), *((f"{family}.{key}", value) for key, value in named.items())]
    data = GgufFile(metadata, [TensorEntry("token_embd.weight"), *map(TensorEntry, tensors)]).encoded()
    digest = upload(data)
    create(model="f", files={"x.gguf": digest})
    model = store.get(store.resolve("f"))
    assert repr(model) == f"<f:latest {family} {model.config.model_type} unknown>"
    if word:
        with pytest.raises(Unsupported, match=word):
            model.spec()
    else:
        assert model.spec().shape.block_count == 1
    assert store.blobs.path(digest).read_bytes() == data
