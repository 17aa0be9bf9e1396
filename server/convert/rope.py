"""Positions: the base of the rotation and how it is stretched, in the spellings of all versions of transformers."""

from __future__ import annotations

import math

import numpy as np

from server.convert.config import Config
from server.convert.plan import Array, Key, count, number, text
from server.errors import InvalidRequest

DEFAULT_BASE = 10_000.0


class Rope:
    """Of the layers that see everything, and of those that see a window. `base` is what a family uses for the former
    where the config says nothing."""

    def __init__(self, config: Config, base: float = DEFAULT_BASE) -> None:
        given = config.part("rope_parameters", "rope_scaling")
        self._global = given.part("full_attention") if given.has("full_attention") else given
        local = given.part("sliding_attention")
        self._config = config
        self.base = self._global.number("rope_theta", default=config.number("rope_theta", default=base))
        local_base = config.number("rope_local_base_freq", default=DEFAULT_BASE)
        self.local_base = local.number("rope_theta", default=local_base)
        self.share = self._global.number(
            "partial_rotary_factor", default=config.number("partial_rotary_factor", default=1)
        )
        kind = self._global.get("rope_type", "type") or "default"
        if not isinstance(kind, str):
            raise self._global.wrong("rope_type", "a text")
        self.kind = {"su": "longrope"}.get(kind.lower(), kind.lower())

    @property
    def factor(self) -> float:
        factor = self._global.number("factor")
        if factor <= 0:
            raise self._global.wrong("factor", "a number above zero")
        return factor

    @property
    def original_context(self) -> int:
        """How many positions the model had before it was stretched."""
        fallback = self._config.count("original_max_position_embeddings", "max_position_embeddings")
        return self._global.count("original_max_position_embeddings", default=fallback)

    def keys(self, *allowed: str, may_be_partial: bool = False) -> list[Key]:
        """The base, and the stretching if it is of a kind that keys describe. Raises InvalidRequest for any kind that
        is neither the default nor in `allowed`, and for heads that are turned in part where the family never does."""
        if self.share != 1 and not may_be_partial:
            raise self._config.wrong("partial_rotary_factor", "1, which is what llama.cpp computes with")
        if self.kind not in ("default", *allowed):
            known = ", ".join(("default", *allowed))
            raise InvalidRequest(
                f'the positions of this model are stretched in a way that cannot be converted: "{self.kind}"; '
                f"those that can are {known}"
            )
        keys = [number(".rope.freq_base", self.base)]
        if self.kind == "linear":
            keys += [text(".rope.scaling.type", "linear"), number(".rope.scaling.factor", self.factor)]
        if self.kind == "yarn":
            keys += self._yarn_keys()
        return keys

    def _yarn_keys(self) -> list[Key]:
        keys = [
            text(".rope.scaling.type", "yarn"),
            number(".rope.scaling.factor", self.factor),
            count(".rope.scaling.original_context_length", self.original_context),
        ]
        if self._global.get("truncate") is False:
            raise InvalidRequest('the positions of this model use "truncate": false, which cannot be converted')
        names = (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow"))
        keys += [
            number(f".rope.scaling.{key}", self._global.number(name)) for name, key in names if self._global.has(name)
        ]
        # llama.cpp multiplies its own 1 + 0.1 ln(factor) with what the key says.
        usual = self._magnitude(1.0)
        if abs(share := self._yarn_attention() / usual - 1) > 1e-6:
            keys.append(number(".rope.scaling.attn_factor", share + 1))
        return keys

    def _yarn_attention(self) -> float:
        """What sines and cosines are multiplied with."""
        if self._global.has("attention_factor"):
            return self._global.number("attention_factor")
        if self._global.get("mscale") and self._global.get("mscale_all_dim"):
            above, below = self._global.number("mscale"), self._global.number("mscale_all_dim")
            return self._magnitude(above) / self._magnitude(below)
        return self._magnitude(1.0)

    def _magnitude(self, weight: float) -> float:
        return 0.1 * weight * math.log(self.factor) + 1 if self.factor > 1 else 1.0

    def llama3_factors(self, dimensions: int) -> Array | None:
        """By how much each frequency is divided; None where the model is not stretched like Llama 3.1.

        Short waves stay, long ones are divided by the factor, and between the two it goes over smoothly.
        """
        if self.kind != "llama3":
            return None
        low = self._global.number("low_freq_factor", default=1.0)
        high = self._global.number("high_freq_factor", default=4.0)
        if not 0 < low < high:
            raise self._global.wrong("high_freq_factor", "larger than low_freq_factor")
        waves = 2 * math.pi * self.base ** (np.arange(0, dimensions, 2, dtype=np.float64) / dimensions)
        turns = self.original_context / waves
        share = np.clip((turns - low) / (high - low), 0.0, 1.0)
        return (1 / ((1 - share) / self.factor + share)).astype("<f4")

    def long_factors(self, dimensions: int) -> tuple[Array, Array]:
        """(long, short): the divisors of each frequency beyond and within the original context. Raises InvalidRequest
        where there are not `dimensions` / 2 of each."""
        pair = [np.array(self._global.numbers(name), "<f4") for name in ("long_factor", "short_factor")]
        if any(factors.size != dimensions // 2 for factors in pair):
            raise self._global.wrong("long_factor", f"{dimensions // 2} numbers, as many as short_factor")
        return pair[0], pair[1]

    def attention_factor(self) -> float:
        """What longrope multiplies sines and cosines with."""
        if self._global.has("attention_factor"):
            return self._global.number("attention_factor")
        positions = self._config.count("max_position_embeddings")
        scale = self._global.number("factor", default=positions / self.original_context)
        return math.sqrt(1 + math.log(scale) / math.log(self.original_context)) if scale > 1 else 1.0
