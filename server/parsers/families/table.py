"""Names of parsers, what each of them understands, and how it is started."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from server.parsers.base import AnswerParser, PlainParser
from server.parsers.families import (
    cohere,
    deepseek,
    functiongemma,
    gemma,
    glimmer,
    glm,
    harmony,
    laguna,
    lfm,
    ministral,
    olmo,
    qwen,
)
from server.parsers.families.opening import Opening


class Family(msgspec.Struct, frozen=True):
    """`calls` and `thinks`: whether it understands tool calls and thinking. `visible`: the special tokens it reads."""

    start: Callable[[Opening], AnswerParser]
    calls: bool
    thinks: bool
    visible: tuple[str, ...]


FAMILIES: dict[str, Family] = {
    "qwen3": Family(qwen.start_qwen3, True, False, qwen.VISIBLE),
    "qwen3-thinking": Family(qwen.start_qwen3_thinking, True, True, qwen.VISIBLE),
    "qwen3-vl-instruct": Family(qwen.start_vl_instruct, True, False, qwen.VISIBLE[1:]),
    "qwen3-vl-thinking": Family(qwen.start_vl_thinking, True, True, qwen.VISIBLE[1:]),
    "qwen3-coder": Family(qwen.start_coder, True, False, qwen.CALL_TAGS),
    "qwen3.5": Family(qwen.start_qwen35, True, True, qwen.VISIBLE),
    "ornith": Family(qwen.start_qwen35, True, True, qwen.VISIBLE),
    "nemotron-3-nano": Family(qwen.start_qwen35, True, True, qwen.VISIBLE),
    "nemotron-3.5-nano": Family(qwen.start_qwen35, True, True, qwen.VISIBLE),
    "deepseek3": Family(deepseek.start_deepseek, True, True, deepseek.VISIBLE),
    "cogito": Family(deepseek.start_cogito, True, True, (*deepseek.VISIBLE, *deepseek.OUTPUTS)),
    "ministral": Family(ministral.start, True, False, ministral.VISIBLE),
    "olmo3": Family(olmo.start_olmo3, True, False, olmo.CALL_TAGS),
    "olmo3-think": Family(olmo.start_olmo3_think, False, True, ("</think>",)),
    "functiongemma": Family(functiongemma.start, True, False, functiongemma.CALL_TAGS),
    "glm-4.7": Family(glm.start_glm, True, True, glm.VISIBLE),
    "glm-ocr": Family(glm.start_ocr, True, False, glm.VISIBLE),
    "lfm2": Family(lfm.start_lfm2, True, False, lfm.VISIBLE),
    "lfm2-thinking": Family(lfm.start_lfm2_thinking, True, True, lfm.VISIBLE),
    "gemma4": Family(gemma.start, True, True, gemma.VISIBLE),
    "gemma4-no-thinking": Family(gemma.start_no_thinking, True, False, gemma.VISIBLE),
    "cohere": Family(cohere.start, True, True, cohere.VISIBLE),
    "laguna": Family(laguna.start_laguna, True, True, laguna.VISIBLE),
    "poolside-v1": Family(laguna.start_poolside, True, True, laguna.VISIBLE),
    "glimmer": Family(glimmer.start, True, True, glimmer.VISIBLE),
    "harmony": Family(harmony.start, True, True, harmony.VISIBLE),
    "passthrough": Family(lambda opening: PlainParser(), False, False, ()),
}
