"""From a GGUF header to the sizes that decide memory, and whether llama.cpp can be given the file at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from server.errors import InvalidGguf
from server.messages.models import ModelShape
from server.store.gguf_layers import WITHOUT_CACHE, layer_input_of, layers_of, window_of
from server.store.gguf_numbers import MAX_SIZE, bounded, numbers, per_layer

if TYPE_CHECKING:
    from server.store.gguf import GgufHeader

FOREIGN_PREFIXES = ("a.", "mm.", "mtp.", "s.", "v.")
_WITHOUT_ATTENTION = ("mamba", "rwkv", "arwkv", "wavtokenizer")


def shape_of(header: GgufHeader, sizes: tuple[int, dict[int, int]]) -> ModelShape:
    """`sizes` is what block_bytes returns. Numbers that a file may give per layer are one per layer here, except
    `head_count`, which is the largest."""
    total, blocks = sizes
    block_count = bounded(header.number("block_count"))
    embedding = header.number("embedding_length")
    heads = max(numbers(header.get("attention.head_count")), default=0)
    per_head = embedding // heads if heads > 0 else 0
    return ModelShape(
        architecture=header.architecture,
        block_count=block_count,
        embedding_length=embedding,
        head_count=heads,
        head_count_kv=per_layer(header.get("attention.head_count_kv"), heads, block_count),
        key_length=header.number("attention.key_length") or per_head,
        value_length=header.number("attention.value_length") or per_head,
        context_length=header.number("context_length"),
        vocab_size=header.number("vocab_size") or header.array_length("tokenizer.ggml.tokens"),
        weights_bytes=total,
        layer_bytes=tuple(blocks.get(index, 0) for index in range(block_count)),
        has_pooling=header.has_pooling,
        layers=layers_of(header, blocks),
        window_tokens=window_of(header),
        layer_inputs=layer_input_of(header) * block_count,
        has_cache=header.architecture not in WITHOUT_CACHE,
        **_input_facts(header, blocks),
    )


def _input_facts(header: GgufHeader, blocks: dict[int, int]) -> dict[str, Any]:
    """The table of token embeddings, and the tensors that llama.cpp leaves in the file: encoders of pictures and
    sounds, and layers that predict tokens ahead."""
    table = next((tensor for tensor in header.tensors if tensor.name == "token_embd.weight"), None)
    names = {tensor.name for tensor in header.tensors}
    ahead = bounded(header.number("nextn_predict_layers"))
    count = bounded(header.number("block_count"))
    unused = sum(blocks.get(index, 0) for index in range(count - ahead, count)) if ahead else 0
    unused += sum(tensor.size for tensor in header.tensors if tensor.name.startswith(FOREIGN_PREFIXES))
    return {
        "input_bytes": table.size if table else 0,
        "input_type": table.type.name if table else "",
        "is_tied": table is not None and "output.weight" not in names and not _is_headless(header),
        "unused_bytes": unused,
    }


def _is_headless(header: GgufHeader) -> bool:
    """No word is predicted, so there is no output layer to tie."""
    return header.architecture in WITHOUT_CACHE and header.has_pooling


def block_bytes(tensors: Iterable[tuple[str, int]]) -> tuple[int, dict[int, int]]:
    """All bytes, and those of each `blk.<n>.`, from names and sizes."""
    total = 0
    blocks: dict[int, int] = {}
    for name, size in tensors:
        total += size
        parts = name.split(".", 2)
        if parts[0] == "blk" and len(parts) == 3 and parts[1].isdecimal():
            blocks[int(parts[1])] = blocks.get(int(parts[1]), 0) + size
    return total, blocks


def check_loadable(header: GgufHeader) -> None:
    """Raises InvalidGguf for a model that llama.cpp refuses, or whose sizes would make it divide by zero."""
    if header.version == 1:
        raise InvalidGguf(
            "this file is GGUF version 1, which llama.cpp no longer loads; get a newer build of the model"
        )
    if header.big_endian:
        raise InvalidGguf("this GGUF file is for big-endian computers; get the ordinary little-endian build")
    if not header.architecture:
        raise InvalidGguf("the GGUF file does not say its architecture (general.architecture)")
    for key in ("block_count", "embedding_length", "attention.head_count"):
        if key == "attention.head_count" and header.architecture.startswith(_WITHOUT_ATTENTION):
            continue
        value = max(numbers(header.get(key)), default=0)
        if not 0 < value < MAX_SIZE:
            raise InvalidGguf(f"the GGUF file's {header.architecture}.{key} is missing or not between 1 and {MAX_SIZE}")
