"""LoRA adapters: what belongs to a base, and what is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from server.errors import InvalidRequest
from server.messages.names import ModelName
from server.store import CreateRequest, Store
from server.store.adapter import check_adapter
from server.store.gguf import read_header
from server.store.manifest import ADAPTER, MODEL
from tests.store.conftest import MODELS
from tests.store.gguf_builder import GgufFile, TensorEntry

Create = Callable[..., list[str]]
Upload = Callable[[bytes], str]


def adapter(*tensors: TensorEntry, **changes: Any) -> bytes:
    """For the base of `small_model`-like sizes; `changes` replace keys, with dots written as `__`."""
    keys = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    keys |= {key.replace("__", "."): value for key, value in changes.items()}
    return GgufFile([(key, value) for key, value in keys.items() if value], list(tensors)).encoded()


def pair(name: str, columns: int, rows: int, rank: int = 2, other_rank: int = 2) -> tuple[TensorEntry, TensorEntry]:
    return TensorEntry(f"{name}.lora_a", (columns, rank)), TensorEntry(f"{name}.lora_b", (other_rank, rows))


def test_an_adapter_is_stored_as_a_layer_of_its_own(
    store: Store, upload: Upload, create: Create, scripted: str
) -> None:
    """model-store 90: as ADAPTER, and in one request with its base; what is made from that keeps it."""
    digest = upload((MODELS / "counting.gguf").read_bytes())
    assert create(model="a", base="m", adapters={"any/name.bin": digest})[0] == "parsing GGUF"
    create(model="b", files={"s.gguf": scripted, "lora.gguf": digest})
    create(model="c", base="a", system="new")
    for name in "abc":
        made = store.get(ModelName.parse(name))
        kinds = {layer.media_type: layer.digest for layer in made.manifest.layers}
        assert (kinds[MODEL], kinds[ADAPTER]) == (scripted, digest)
        assert made.spec().adapter_paths == (str(store.blobs.path(digest)),)
        assert made.config.model_families == ("llama",)
    assert store.delete(ModelName.parse("m")) == 0
    assert store.delete(ModelName.parse("a")) == 0
    assert store.blobs.has(digest)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ((MODELS / "foreign.gguf").read_bytes(), "was made for another base: the sizes of output.weight differ"),
        (adapter(*pair("blk.7.attn_q.weight", 512, 512)), "another base: this one has no tensor blk.7.attn_q.weight"),
        (adapter(*pair("output.weight", 512, 512), general__architecture="qwen2"), "architecture qwen2, and"),
        (adapter(*pair("output.weight", 512, 512), adapter__type="ia3"), "adapter of the kind ia3; only LoRA"),
        (adapter(*pair("output.weight", 512, 512), adapter__type=None), "adapter of the kind unknown; only LoRA"),
        (adapter(*pair("output.weight", 512, 512, 2, 4)), "the sizes of output.weight differ"),
        (adapter(*pair("output.weight", 512, 512)[:1]), "only one of the two matrices for output.weight"),
        (adapter(TensorEntry("output.weight")), "holds output.weight, which is no part of a LoRA adapter"),
        (adapter(TensorEntry("blk.0.attn_norm.weight")), "changes nothing"),
        (adapter(), "changes nothing"),
    ],
)  # fmt: skip
def test_an_adapter_of_another_base_is_refused(
    store: Store, upload: Upload, scripted: str, content: bytes, sentence: str
) -> None:
    digest = upload(content)
    for request in (
        {"from": "m", "adapters": {"x.gguf": digest}},
        {"files": {"s.gguf": scripted, "x.gguf": digest}},
    ):
        with pytest.raises(InvalidRequest, match=sentence):
            store.create(CreateRequest.read({"model": "a", **request}), lambda _: None)
    assert [model.name.short for model in store.list()] == ["m:latest"]


def test_an_adapter_needs_a_base(store: Store, upload: Upload, create: Create) -> None:
    digest = upload((MODELS / "counting.gguf").read_bytes())
    for fields in (
        {"files": {"x.gguf": digest}},
        {"base": "far", "remote_host": "box", "adapters": {"x.gguf": digest}},
    ):
        with pytest.raises(InvalidRequest, match="is an adapter, and there is no base model for it"):
            create(model="a", **fields)
    with pytest.raises(InvalidRequest, match="only one adapter is currently supported"):
        create(model="a", base="far", remote_host="box", adapters={"x.gguf": digest, "y.gguf": digest})


def test_the_embedding_lies_the_other_way_round(tmp_path: Any) -> None:
    base = read_header(MODELS / "scripted.gguf")
    path = tmp_path / "a.gguf"
    rows = next(tensor.shape[1] for tensor in base.tensors if tensor.name == "blk.0.attn_k.weight")
    path.write_bytes(adapter(*pair("blk.0.attn_k.weight", 512, rows), *pair("token_embd.weight", 512, 512)))
    with pytest.raises(InvalidRequest, match=r"sizes of token_embd\.weight"):
        check_adapter("a.gguf", read_header(path), base)
    turned = TensorEntry("token_embd.weight.lora_a", (2, 512)), TensorEntry("token_embd.weight.lora_b", (2, 512))
    path.write_bytes(adapter(*pair("blk.0.attn_k.weight", 512, rows), *turned))
    check_adapter("a.gguf", read_header(path), base)
