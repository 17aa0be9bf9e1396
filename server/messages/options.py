"""The options of a request: those that a runner is started with, and those of one answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from server.errors import InvalidRequest


class RunnerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner is started with; another value means another runner. None is "not said"."""

    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int = -1
    main_gpu: int | None = None
    use_mmap: bool | None = None
    num_thread: int = 0
    draft_num_predict: int | None = None


class SamplingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer is sampled with.

    `logit_bias`: what is added to the logits of a token, given as its id or as a text whose tokens all get it; -inf
    forbids them. `samplers`: the names of those that take part, in their order, or nothing for all in the usual one.
    `max_predict_ms`: an answer that has taken longer ends at its next line break; 0 for no such limit.
    """

    num_keep: int = 4
    num_predict: int = -1
    seed: int = -1
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    min_keep: int = 0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    samplers: tuple[str, ...] = ()
    ignore_eos: bool = False
    logit_bias: tuple[tuple[int | str, float], ...] = ()
    max_predict_ms: int = 0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Both kinds, and the names that nobody knows."""

    runner: RunnerOptions = RunnerOptions()
    sampling: SamplingOptions = SamplingOptions()
    unknown: tuple[str, ...] = ()


OPTION_KINDS: dict[str, str] = {
    "num_ctx": "integer", "num_batch": "integer", "num_gpu": "integer", "main_gpu": "integer", "use_mmap": "boolean",
    "num_thread": "integer", "draft_num_predict": "integer", "num_keep": "integer", "num_predict": "integer",
    "seed": "integer", "temperature": "float32", "top_k": "integer", "top_p": "float32", "min_p": "float32",
    "typical_p": "float32", "repeat_last_n": "integer", "repeat_penalty": "float32", "presence_penalty": "float32",
    "frequency_penalty": "float32", "stop": "array",
    # what llama.cpp's own server knows beyond that
    "min_keep": "integer", "top_n_sigma": "float32", "xtc_probability": "float32", "xtc_threshold": "float32",
    "dynatemp_range": "float32", "dynatemp_exponent": "float32", "dry_multiplier": "float32", "dry_base": "float32",
    "dry_allowed_length": "integer", "dry_penalty_last_n": "integer", "dry_sequence_breakers": "array",
    "mirostat": "integer", "mirostat_tau": "float32", "mirostat_eta": "float32", "samplers": "array",
    "ignore_eos": "boolean", "logit_bias": "bias", "max_predict_ms": "integer",
}  # fmt: skip
OPTION_NAMES = tuple(OPTION_KINDS)
_RUNNER_FIELDS = frozenset(RunnerOptions.__struct_fields__)


def read_options(*layers: Mapping[str, Any] | None) -> Options:
    """Merge mappings of options, later ones winning key by key. Raises InvalidRequest naming a value of a wrong type.

    A null is as if absent; a number for an integer option is cut toward zero.
    """
    runner: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    unknown: dict[str, None] = {}
    for layer in layers:
        for name, value in (layer or {}).items():
            if value is None:
                continue
            if name not in OPTION_KINDS:
                unknown[name] = None
                continue
            target = runner if name in _RUNNER_FIELDS else sampling
            target[name] = _checked(name, value)
    return Options(runner=RunnerOptions(**runner), sampling=SamplingOptions(**sampling), unknown=tuple(unknown))


def _checked(name: str, value: Any) -> Any:
    kind = OPTION_KINDS[name]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "integer" and is_number:
        # What crosses the pipe to a runner has 64 bits; int() refuses the infinite.
        return int(max(-(2**63), min(value, 2**63 - 1)))
    if kind == "float32" and is_number:
        return float(value)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind == "array" and isinstance(value, (list, tuple)):
        if all(isinstance(item, str) for item in value):
            return tuple(value)
        raise InvalidRequest(f'option "{name}" must be of an array of strings')
    if kind == "bias":
        return _bias(value)
    raise InvalidRequest(f'option "{name}" must be of type {kind}')


def _bias(value: Any) -> tuple[tuple[int | str, float], ...]:
    """Token and what is added to its logit. An object by token, or a list of pairs; `false` forbids a token."""
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, (list, tuple)):
        raise InvalidRequest('option "logit_bias" must be an object of tokens and numbers, or a list of such pairs')
    return tuple(_bias_pair(pair) for pair in pairs)


def _bias_pair(pair: Any) -> tuple[int | str, float]:
    if isinstance(pair, (list, tuple)) and len(pair) == 2:
        token, amount = pair
        if isinstance(token, str) and token.isascii() and token.lstrip("-").isdecimal():
            token = int(token)
        is_token = isinstance(token, (int, str)) and not isinstance(token, bool)
        if is_token and amount is False:
            return token, -math.inf
        if is_token and isinstance(amount, (int, float)) and not isinstance(amount, bool):
            return token, float(amount)
    raise InvalidRequest(
        'option "logit_bias" must give each token, by its id or its text, a number or false to forbid it'
    )
