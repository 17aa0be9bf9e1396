"""Gemma 3: a norm for each head of query and key, and other positions where a window is seen. Of the models that see
pictures, the part that reads and writes text."""

from __future__ import annotations

from server.convert.config import Config
from server.convert.families import decoder, gemma
from server.convert.plan import Outline, add_one, number
from server.convert.rope import Rope

ARCHITECTURES = ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration")
LARGEST_LAYERS = 62

ROWS = (*gemma.ROWS, *(
    type(row)(row.source, row.target, row.shape, add_one) for row in decoder.HEAD_NORMS
))  # fmt: skip


# What the configs of the models that see pictures leave out.
DEFAULTS = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072}


def outline(config: Config) -> Outline:
    config = config.with_defaults(DEFAULTS)
    sizes = decoder.dimensions(config, head=256)
    gemma.check(config, sizes, LARGEST_LAYERS)
    rope = Rope(config, base=1_000_000.0)
    keys = [
        *decoder.keys(config, sizes),
        *rope.keys("linear"),
        number(".rope.freq_base_swa", rope.local_base),
        *gemma.window_keys(config, sizes["layers"], every=6, default=4096),
    ]
    if config.has("final_logit_softcapping"):
        keys.append(number(".final_logit_softcapping", config.number("final_logit_softcapping")))
    sees = config.architecture == "Gemma3ForConditionalGeneration"
    notes = ("the part that sees pictures is left out; the model reads and writes text",) if sees else ()
    return Outline("gemma3", tuple(keys), sizes, ROWS, notes=notes)
