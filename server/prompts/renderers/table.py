"""Names of renderers, and how each of them makes a prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from server.prompts.renderers import (
    cogito,
    cohere,
    deepseek,
    functiongemma,
    gemma4,
    glimmer,
    glm,
    laguna,
    lfm,
    nemotron,
    olmo,
    qwen_coder,
    qwen_tagged,
    qwen_vl,
)
from server.prompts.renderers.chat import Chat

SystemImages = Literal["shown", "counted", "left out"]


class Renderer(msgspec.Struct, frozen=True):
    """`sees`: whether pictures have places in the prompt. `system_images`: what becomes of those in instructions;
    "counted" only takes a number. `trims`: white space around contents goes before places are marked."""

    render: Callable[[Chat], str]
    sees: bool = False
    system_images: SystemImages = "shown"
    trims: bool = False


RENDERERS: dict[str, Renderer] = {
    "qwen3-coder": Renderer(qwen_coder.render),
    "qwen3-vl-instruct": Renderer(qwen_vl.render_instruct, sees=True, system_images="counted"),
    "qwen3-vl-thinking": Renderer(qwen_vl.render_thinking, sees=True, system_images="counted"),
    "qwen3.5": Renderer(qwen_tagged.render_qwen35, sees=True),
    "qwen3.8": Renderer(qwen_tagged.render_qwen38, sees=True),
    "ornith": Renderer(qwen_tagged.render_ornith, sees=True),
    "cogito": Renderer(cogito.render),
    "deepseek3.1": Renderer(deepseek.render),
    "olmo3": Renderer(olmo.render_olmo3),
    "olmo3.1": Renderer(olmo.render_olmo31),
    "olmo3-think": Renderer(olmo.render_think),
    "olmo3-32b-think": Renderer(olmo.render_think_32b),
    "gemma4": Renderer(gemma4.render_small, sees=True, system_images="left out", trims=True),
    "gemma4-small": Renderer(gemma4.render_small, sees=True, system_images="left out", trims=True),
    "gemma4-large": Renderer(gemma4.render_large, sees=True, system_images="left out", trims=True),
    "functiongemma": Renderer(functiongemma.render),
    "nemotron-3-nano": Renderer(nemotron.render_nano3, sees=True, system_images="left out"),
    "nemotron-3.5-nano": Renderer(nemotron.render_nano35, sees=True, system_images="left out"),
    "glm-4.7": Renderer(glm.render),
    "glm-ocr": Renderer(glm.render_ocr, sees=True, system_images="left out"),
    "lfm2": Renderer(lfm.render, sees=True, system_images="counted"),
    "lfm2-thinking": Renderer(lfm.render_thinking, sees=True, system_images="counted"),
    "laguna": Renderer(laguna.render),
    "poolside-v1": Renderer(laguna.render_poolside),
    "cohere": Renderer(cohere.render),
    "glimmer": Renderer(glimmer.render, sees=True),
}
