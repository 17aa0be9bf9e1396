"""Models whose weights are all zero, in any shape: a header, and a hole in the file where the weights are read."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np

ALIGNMENT = 32


@dataclass(frozen=True)
class Zeros:
    """`kind` is the type of all matrices; `head` the length of a head; `extra` further keys of the architecture."""

    architecture: str = "llama"
    kind: str = "F16"
    layers: int = 8
    width: int = 512
    heads: int = 8
    kv_heads: int = 2
    head: int = 64
    feed_forward: int = 1536
    vocab: int = 32000
    is_tied: bool = False
    has_bias: bool = False
    has_head_norms: bool = False
    has_post_norms: bool = False
    experts: int = 0
    experts_used: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def write(path: Path, model: Zeros) -> Path:
    file = SparseFile(path, model.architecture)
    _add_keys(file.writer, model)
    _add_tokens(file.writer, model.vocab)
    file.tensor("token_embd.weight", (model.width, model.vocab), model.kind)
    file.tensor("output_norm.weight", (model.width,))
    if not model.is_tied:
        file.tensor("output.weight", (model.width, model.vocab), model.kind)
    for layer in range(model.layers):
        if model.architecture == "mamba":
            _add_mamba(file, f"blk.{layer}.", model)
        else:
            _add_attention(file, f"blk.{layer}.", model)
            _add_feed_forward(file, f"blk.{layer}.", model)
    file.close()
    return path


class SparseFile:
    def __init__(self, path: Path, architecture: str) -> None:
        self.path = path
        self.writer = gguf.GGUFWriter(path, architecture)
        self._sizes: list[int] = []

    def tensor(self, name: str, shape: tuple[int, ...], kind: str = "F32") -> None:
        """`shape` has the fastest dimension first."""
        number = gguf.GGMLQuantizationType[kind]
        block, block_bytes = gguf.GGML_QUANT_SIZES[number]
        size = math.prod(shape) // block * block_bytes
        rows = [*reversed(shape)]
        if kind in ("F32", "F16"):
            self.writer.add_tensor_info(name, rows, np.dtype(np.float32 if kind == "F32" else np.float16), size)
        else:
            rows[-1] = rows[-1] // block * block_bytes
            self.writer.add_tensor_info(name, rows, np.dtype(np.uint8), size, raw_dtype=number)
        self._sizes.append(size)

    def close(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_ti_data_to_file()
        self.writer.close()
        end = _aligned(self.path.stat().st_size)
        for size in self._sizes:
            end = _aligned(end + size)
        os.truncate(self.path, end)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _add_keys(writer: gguf.GGUFWriter, model: Zeros) -> None:
    writer.add_context_length(32768)
    writer.add_embedding_length(model.width)
    writer.add_block_count(model.layers)
    writer.add_feed_forward_length(model.feed_forward)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(model.vocab)
    if model.heads:
        writer.add_key_length(model.head)
        writer.add_value_length(model.head)
        writer.add_rope_dimension_count(model.head)
    if model.experts:
        writer.add_expert_count(model.experts)
        writer.add_expert_used_count(model.experts_used)
        writer.add_expert_feed_forward_length(model.feed_forward)
    for key, value in model.extra.items():
        writer.add_uint32(f"{model.architecture}.{key}", value)


def _add_tokens(writer: gguf.GGUFWriter, count: int) -> None:
    kind = gguf.TokenType
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256
    tokens += [f"w{number}" for number in range(count - len(tokens))]
    types += [kind.NORMAL] * (count - len(types))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * count)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _add_attention(file: SparseFile, block: str, model: Zeros) -> None:
    query, key = model.heads * model.head, model.kv_heads * model.head
    for name, rows in (("attn_q", query), ("attn_k", key), ("attn_v", key)):
        file.tensor(f"{block}{name}.weight", (model.width, rows), model.kind)
        if model.has_bias:
            file.tensor(f"{block}{name}.bias", (rows,))
    file.tensor(f"{block}attn_output.weight", (query, model.width), model.kind)
    norms = ["attn_norm", "ffn_norm"]
    norms += ["post_attention_norm", "post_ffw_norm"] if model.has_post_norms else []
    for name in norms:
        file.tensor(f"{block}{name}.weight", (model.width,))
    for name in ("attn_q_norm", "attn_k_norm") if model.has_head_norms else ():
        file.tensor(f"{block}{name}.weight", (model.head,))


def _add_feed_forward(file: SparseFile, block: str, model: Zeros) -> None:
    experts = (model.experts,) if model.experts else ()
    suffix = "_exps" if experts else ""
    if experts:
        file.tensor(f"{block}ffn_gate_inp.weight", (model.width, model.experts))
    for name in ("ffn_gate", "ffn_up"):
        file.tensor(f"{block}{name}{suffix}.weight", (model.width, model.feed_forward, *experts), model.kind)
    file.tensor(f"{block}ffn_down{suffix}.weight", (model.feed_forward, model.width, *experts), model.kind)


def _add_mamba(file: SparseFile, block: str, model: Zeros) -> None:
    inner, state = model.extra["ssm.inner_size"], model.extra["ssm.state_size"]
    kernel, rank = model.extra["ssm.conv_kernel"], model.extra["ssm.time_step_rank"]
    file.tensor(f"{block}attn_norm.weight", (model.width,))
    file.tensor(f"{block}ssm_in.weight", (model.width, 2 * inner), model.kind)
    file.tensor(f"{block}ssm_conv1d.weight", (kernel, inner))
    file.tensor(f"{block}ssm_conv1d.bias", (inner,))
    file.tensor(f"{block}ssm_x.weight", (inner, rank + 2 * state), model.kind)
    file.tensor(f"{block}ssm_dt.weight", (rank, inner))
    file.tensor(f"{block}ssm_dt.bias", (inner,))
    file.tensor(f"{block}ssm_a", (state, inner))
    file.tensor(f"{block}ssm_d", (inner,))
    file.tensor(f"{block}ssm_out.weight", (inner, model.width), model.kind)
