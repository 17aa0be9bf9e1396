"""The native sampler chain of one stream: which samplers take part, in which order.

Without a wish of the request the order is llama-server's: DRY, top_n_sigma, top_k, typical_p, top_p, min_p, XTC,
temperature, then the draw. Mirostat takes the place of all but the temperature. Penalties come before all of them and
are computed outside of the chain.
"""

from __future__ import annotations

import ctypes
import secrets
from collections.abc import Callable
from typing import Any

from server.engine import bindings
from server.engine.vocabulary import Tokens, Vocabulary
from server.errors import InvalidRequest
from server.messages.options import SamplingOptions

SEED_MASK = 0xFFFFFFFF  # llama.cpp draws at random for this very seed
MIROSTAT_CANDIDATES = 100
PENALTIES = "penalties"


def seed_of(wanted: int) -> int:
    """32 bits: random for a negative one, otherwise always the same for the same number."""
    if wanted < 0:
        return secrets.randbelow(SEED_MASK)
    seed = wanted & SEED_MASK
    return seed if seed != SEED_MASK else SEED_MASK - 1


class Chain:
    """`handle` is the llama_sampler pointer, 0 where the largest logit wins and no chain is needed."""

    def __init__(self, options: SamplingOptions, vocabulary: Vocabulary, prompt: Tokens, context_tokens: int) -> None:
        """Raises InvalidRequest for a sampler that does not exist."""
        self._api = bindings.llama()
        self._context_tokens = context_tokens
        links = self._links(options, vocabulary, prompt, seed_of(options.seed))
        self.handle: int = self._joined(links) if links else 0

    def _links(self, options: SamplingOptions, vocabulary: Vocabulary, prompt: Tokens, seed: int) -> list[Any]:
        api = self._api
        temperature = max(options.temperature, 0.0)
        if temperature == 0.0:
            dry = self._dry(options, vocabulary, prompt) if "dry" in sampler_names(options) else None
            return [dry, api.llama_sampler_init_greedy()] if dry else []
        if options.mirostat == 1:
            arguments = (vocabulary.size, seed, options.mirostat_tau, options.mirostat_eta, MIROSTAT_CANDIDATES)
            return [api.llama_sampler_init_temp(temperature), api.llama_sampler_init_mirostat(*arguments)]
        if options.mirostat == 2:
            last = api.llama_sampler_init_mirostat_v2(seed, options.mirostat_tau, options.mirostat_eta)
            return [api.llama_sampler_init_temp(temperature), last]
        links = []
        for name in sampler_names(options):
            link = self._dry(options, vocabulary, prompt) if name == "dry" else LINKS[name](api, options, seed)
            if link:
                links.append(link)
        return [*links, api.llama_sampler_init_dist(seed)]

    def _dry(self, options: SamplingOptions, vocabulary: Vocabulary, prompt: Tokens) -> Any:
        """None where it is off. It has to know the prompt, whose repetitions count too."""
        if options.dry_multiplier == 0.0 or options.dry_base < 1.0 or options.dry_penalty_last_n == 0:
            return None
        window = _int32(options.dry_penalty_last_n) if options.dry_penalty_last_n > 0 else self._context_tokens
        words = [word.encode(errors="replace") for word in options.dry_sequence_breakers]
        breakers = (ctypes.c_char_p * len(words))(*words)
        link = self._api.llama_sampler_init_dry(
            vocabulary.handle, options.dry_multiplier, options.dry_base, _int32(options.dry_allowed_length), window,
            breakers, len(words),
        )  # fmt: skip
        for token in prompt.tolist():
            self._api.llama_sampler_accept(link, token)
        return link

    def _joined(self, links: list[Any]) -> int:
        params = self._api.llama_sampler_chain_default_params()
        params.no_perf = True
        chain: int = self._api.llama_sampler_chain_init(params)
        for link in links:
            self._api.llama_sampler_chain_add(chain, link)
        return chain

    def close(self) -> None:
        if self.handle:
            self._api.llama_sampler_free(self.handle)
            self.handle = 0


def sampler_names(options: SamplingOptions) -> tuple[str, ...]:
    """The samplers of the chain in their order; raises InvalidRequest for a name that nobody knows."""
    if not options.samplers:
        return USUAL_ORDER
    names = tuple(ALIASES.get(name, name) for name in options.samplers)
    for name in names:
        if name not in (*USUAL_ORDER, PENALTIES):
            raise InvalidRequest(f'There is no sampler "{name}"; there are {", ".join((PENALTIES, *USUAL_ORDER))}.')
    return tuple(name for name in dict.fromkeys(names) if name != PENALTIES)


def uses_penalties(options: SamplingOptions) -> bool:
    return not options.samplers or PENALTIES in options.samplers


def _int32(value: int) -> int:
    return max(-(2**31), min(value, 2**31 - 1))


def _top_k(api: Any, options: SamplingOptions, _seed: int) -> Any:
    return api.llama_sampler_init_top_k(_int32(options.top_k)) if options.top_k > 0 else None


def _top_n_sigma(api: Any, options: SamplingOptions, _seed: int) -> Any:
    return api.llama_sampler_init_top_n_sigma(options.top_n_sigma) if options.top_n_sigma > 0 else None


def _typical(api: Any, options: SamplingOptions, _seed: int) -> Any:
    is_set = 0.0 < options.typical_p < 1.0  # 0 counts as unset
    return api.llama_sampler_init_typical(options.typical_p, max(options.min_keep, 0)) if is_set else None


def _top_p(api: Any, options: SamplingOptions, _seed: int) -> Any:
    if options.top_p >= 1.0:
        return None
    return api.llama_sampler_init_top_p(max(options.top_p, 0.0), max(options.min_keep, 1))


def _min_p(api: Any, options: SamplingOptions, _seed: int) -> Any:
    return api.llama_sampler_init_min_p(options.min_p, max(options.min_keep, 1)) if options.min_p > 0.0 else None


def _xtc(api: Any, options: SamplingOptions, seed: int) -> Any:
    if options.xtc_probability <= 0.0:
        return None
    arguments = (options.xtc_probability, options.xtc_threshold, max(options.min_keep, 0), seed)
    return api.llama_sampler_init_xtc(*arguments)


def _temperature(api: Any, options: SamplingOptions, _seed: int) -> Any:
    if options.dynatemp_range > 0.0:
        return api.llama_sampler_init_temp_ext(options.temperature, options.dynatemp_range, options.dynatemp_exponent)
    return api.llama_sampler_init_temp(options.temperature)


# The chain's samplers in their usual order; DRY, which comes first, is made apart.
LINKS: dict[str, Callable[[Any, SamplingOptions, int], Any]] = {
    "top_n_sigma": _top_n_sigma, "top_k": _top_k, "typ_p": _typical, "top_p": _top_p, "min_p": _min_p, "xtc": _xtc,
    "temperature": _temperature,
}  # fmt: skip
USUAL_ORDER = ("dry", *LINKS)
ALIASES = {
    "typical_p": "typ_p", "typical": "typ_p", "temp": "temperature", "top-k": "top_k", "top-p": "top_p",
    "min-p": "min_p", "nucleus": "top_p", "top-n-sigma": "top_n_sigma",
}  # fmt: skip
