"""Mistral: Llama's layers; the first version saw a window of 4096 tokens."""

from __future__ import annotations

from dataclasses import replace

from server.convert.config import Config
from server.convert.families import llama
from server.convert.plan import Outline

ARCHITECTURES = ("MistralForCausalLM", "MistralModel")


def outline(config: Config) -> Outline:
    plain = llama.outline(config)
    positions = config.count("max_position_embeddings")
    window = config.count("sliding_window", default=positions)
    if window >= positions:
        return plain
    note = (
        f"this model looks back over {window} tokens and llama.cpp over all of them; answers are the same up to "
        f"{window} tokens of context"
    )
    return replace(plain, notes=(note,))
