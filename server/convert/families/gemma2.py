"""Gemma 2: scores and outputs are held back softly."""

from __future__ import annotations

from server.convert.config import Config
from server.convert.families import decoder, gemma
from server.convert.plan import Outline, number
from server.convert.rope import Rope

ARCHITECTURES = ("Gemma2ForCausalLM", "Gemma2Model")
LARGEST_LAYERS = 46


def outline(config: Config) -> Outline:
    sizes = decoder.dimensions(config, head=256)
    gemma.check(config, sizes, LARGEST_LAYERS)
    keys = [
        *decoder.keys(config, sizes),
        *Rope(config).keys(),
        number(".attn_logit_softcapping", config.number("attn_logit_softcapping", default=50.0)),
        number(".final_logit_softcapping", config.number("final_logit_softcapping", default=30.0)),
        *gemma.window_keys(config, sizes["layers"], every=2, default=4096),
    ]
    return Outline("gemma2", tuple(keys), sizes, gemma.ROWS)
