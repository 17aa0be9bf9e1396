"""Writes the trained network as a GGUF file that llama.cpp loads."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from resources.starter.corpus import FAR_FROM_PUNA, MAX_QUESTION_CHARACTERS
from resources.starter.network import EPSILON, Parameters, Shape
from resources.starter.tokens import BOS, EOS, FIRST_BYTE, FIRST_PIECE, UNKNOWN, Tokenizer

NAME = "Puna Starter"
CONTEXT_TOKENS = 2048
# The model reads the last question alone, in lower case: what was said before would not change its answer. "<" goes,
# so that no text can pretend to be a turn.
CHAT_TEMPLATE = (
    "{%- set last = namespace(question='') -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{%- set last.question = message['content'] -%}{%- endif -%}"
    "{%- endfor -%}"
    "{%- set question = last.question | trim | lower -%}"
    "{%- if '<|' in question or question | length > " + str(MAX_QUESTION_CHARACTERS) + " -%}"
    "{%- set question = '" + FAR_FROM_PUNA + "' -%}"
    "{%- endif -%}"
    "{{ '<|user|> ' + question | replace('<', ' ') }}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
_TENSORS = {
    "attention_norm": "attn_norm", "query": "attn_q", "key": "attn_k", "value": "attn_v", "output": "attn_output",
    "inner_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip


def write(path: Path, parameters: Parameters, shape: Shape, tokenizer: Tokenizer) -> None:
    """Matrices as F16, norms as F32."""
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, shape)
    _add_tokenizer(writer, tokenizer)
    writer.add_tensor("token_embd.weight", np.asarray(parameters["embedding"], np.float16))
    writer.add_tensor("output.weight", np.ascontiguousarray(np.asarray(parameters["head"], np.float16).T))
    writer.add_tensor("output_norm.weight", np.asarray(parameters["final_norm"], np.float32))
    for ours, theirs in _TENSORS.items():
        for layer, weights in enumerate(np.asarray(parameters["layers"][ours])):
            # llama.cpp has matrices as (output, input)
            data = weights.T.astype(np.float16) if weights.ndim == 2 else weights.astype(np.float32)
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name(NAME)
    writer.add_author("The authors of Puna")
    writer.add_license("mit")
    writer.add_description("Answers questions about Puna; made by resources/starter of Puna's repository")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    kinds = [gguf.TokenType.CONTROL] * FIRST_BYTE
    kinds[UNKNOWN] = gguf.TokenType.UNKNOWN
    kinds += [gguf.TokenType.BYTE] * (FIRST_PIECE - FIRST_BYTE) + [gguf.TokenType.NORMAL] * len(tokenizer.pieces)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokenizer.texts)
    writer.add_token_scores(tokenizer.scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
