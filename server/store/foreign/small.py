"""Families that differ in a name or two."""

from __future__ import annotations

import base64
import binascii

from server.errors import InvalidGguf
from server.store.foreign import values
from server.store.foreign.draft import Draft
from server.store.gguf import GgufHeader
from server.store.gguf_reader import GgufArray
from server.store.gguf_tables import STRING_TYPE

_CHARACTERS = "tokenizer.ggml.precompiled_charsmap"
_END_OF_TURN, _END_OF_TEXT = 128_009, 128_001


def lfm2(draft: Draft) -> None:
    draft.tensors["token_embd_norm.weight"] = draft.tensors.pop("output_norm.weight")
    draft.put("tokenizer.ggml.pre", values.text("lfm2"))
    length = draft.tensor("blk.0.ffn_gate.weight", 2).shape[1]
    if draft.header.number("feed_forward_length") != length:
        draft.put("lfm2.feed_forward_length", values.u32(length))


def olmo3(draft: Draft) -> None:
    draft.become("olmo2")


def glm4_lite(draft: Draft) -> None:
    """GLM 4.7 Flash: attention of DeepSeek 2, with the sizes of a head and of what is cached the other way round."""
    latent, rotated = draft.number("attention.kv_lora_rank"), draft.number("rope.dimension_count")
    head = draft.number("attention.key_length")
    ends = draft.whole_numbers("tokenizer.ggml.eos_token_ids")
    draft.become("deepseek2")
    attention = {
        "head_count_kv": 1,
        "key_length": latent + rotated,
        "value_length": latent,
        "key_length_mla": head,
        "value_length_mla": head,
    }
    for key, value in attention.items():
        draft.put(f"deepseek2.attention.{key}", values.u32(value))
    draft.put_missing("deepseek2.expert_group_count", values.u32(1))
    draft.put_missing("deepseek2.expert_group_used_count", values.u32(1))
    draft.put("tokenizer.ggml.pre", values.text("glm4"))
    for name, end in zip(("eot", "eom"), ends[1:], strict=False):
        draft.put_missing(f"tokenizer.ggml.{name}_token_id", values.u32(end))


def is_lettered_bert(header: GgufHeader) -> bool:
    """One whose table of characters is a list of letters."""
    value = header.metadata.get(_CHARACTERS)
    if isinstance(value, GgufArray):
        return value.element_type == STRING_TYPE
    return isinstance(value, list) and bool(value) and isinstance(value[0], str)


def bert(draft: Draft) -> None:
    """Snowflake Arctic Embed 2: the letters are base64."""
    letters = "".join(map(str, draft.header.array(_CHARACTERS)))
    try:
        table = base64.b64decode(letters, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidGguf(f"the key {_CHARACTERS} is no base64") from error
    draft.put(_CHARACTERS, values.numbers(values.U8, table))


def is_bare_llama3(header: GgufHeader) -> bool:
    """A Llama 3 that does not say how it cuts texts into words."""
    if header.text("tokenizer.ggml.model") != "gpt2" or header.text("tokenizer.ggml.pre") not in ("", "default"):
        return False
    key = "tokenizer.ggml.tokens"
    return header.array_length(key) > _END_OF_TURN and header.array(key)[_END_OF_TURN] == "<|eot_id|>"


def llama3(draft: Draft) -> None:
    draft.put("tokenizer.ggml.pre", values.text("llama-bpe"))
    if draft.header.number("tokenizer.ggml.eot_token_id") in (0, _END_OF_TEXT):
        draft.put("tokenizer.ggml.eot_token_id", values.u32(_END_OF_TURN))


def llava(draft: Draft) -> None:
    """A projector from the time when there was but one kind."""
    draft.put("clip.projector_type", values.text("mlp"))
