"""Which template a model is asked in, and what the model can do by what is known of it."""

from __future__ import annotations

import functools
from typing import Literal

import msgspec

from server.prompts import gotemplate, jinja

Mode = Literal["rendered", "native"]
Winner = Literal["renderer_parser", "renderer", "parser", "harmony", "go_template", "gguf_chat_template", "none"]
DEFAULT_GO_TEMPLATE = "{{ .Prompt }}"

HARMONY_FAMILIES = ("gptoss", "gpt-oss")
# Parsers by name, and whether they understand tool calls and thinking.
PARSER_ABILITIES: dict[str, tuple[bool, bool]] = {
    "qwen3": (True, False), "qwen3-thinking": (True, True), "qwen3.5": (True, True), "ornith": (True, True),
    "qwen3-coder": (True, False), "qwen3-vl-instruct": (True, False), "qwen3-vl-thinking": (True, True),
    "ministral": (True, False), "passthrough": (False, False), "harmony": (True, True), "cogito": (True, True),
    "deepseek3": (True, True), "olmo3": (True, False), "olmo3-think": (False, True), "nemotron-3-nano": (True, True),
    "nemotron-3.5-nano": (True, True), "functiongemma": (True, False), "glm-4.7": (True, True), "gemma4": (True, True),
    "gemma4-no-thinking": (True, False), "glm-ocr": (True, False), "lfm2": (True, False), "lfm2-thinking": (True, True),
    "laguna": (True, True), "poolside-v1": (True, True), "cohere": (True, True), "glimmer": (True, True),
}  # fmt: skip


class TemplateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What decides: plain facts of the manifest, the config and the GGUF header.

    `go_text`: the template layer, None where there is none. `has_gguf`: whether the weights could be read; without
    them nothing is known, not even completion. `audio_projector`: a projector has an audio encoder and is not of the
    type gemma3nv; `blind_projector`: it has that alone. The counts are those of `<arch>.vision.block_count` and
    `<arch>.audio.block_count`.
    """

    renderer: str = ""
    parser: str = ""
    go_text: str | None = None
    jinja_text: str = ""
    family: str = ""
    has_gguf: bool = True
    has_pooling: bool = False
    vision_blocks: int = 0
    audio_blocks: int = 0
    has_projector: bool = False
    audio_projector: bool = False
    blind_projector: bool = False
    config_capabilities: tuple[str, ...] = ()


class TemplateChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The decision, made once per model.

    `go_text` is the template layer's text, or the default where there is no layer; `has_go_layer` tells which.
    `jinja_text` is "" where the GGUF has none. `parser` names a built-in parser, "" for none.
    """

    mode: Mode
    winner: Winner
    go_text: str
    has_go_layer: bool
    jinja_text: str
    renderer: str
    parser: str
    family: str
    capabilities: tuple[str, ...]

    @property
    def go(self) -> gotemplate.GoTemplate:
        """Raises InvalidTemplate."""
        return parsed_go(self.go_text)

    @property
    def source(self) -> str:
        """What makes the prompts of chats: the text of the template, or the name of the renderer."""
        if self.renderer:
            return self.renderer
        return self.go_text if self.mode == "rendered" else self.jinja_text or jinja.CHATML

    @property
    def is_bare(self) -> bool:
        """Whether the model has no template at all."""
        return self.winner == "none" and not self.has_go_layer

    @property
    def thinking_tags(self) -> tuple[str, str] | None:
        """What encloses thinking, by the Go template."""
        return self.go.thinking_tags

    @property
    def tool_tag(self) -> str:
        """What opens a tool call, by the Go template."""
        return self.go.tool_tag

    @property
    def can_think(self) -> bool:
        return "thinking" in self.capabilities

    @property
    def is_harmony(self) -> bool:
        return self.parser == "harmony"


@functools.lru_cache(maxsize=64)
def parsed_go(text: str) -> gotemplate.GoTemplate:
    return gotemplate.parse(text)


def select(facts: TemplateFacts, go_template: bool | None = None) -> TemplateChoice:
    """Decide. `go_template` is the setting OLLAMA_GO_TEMPLATE. Raises InvalidTemplate on a layer that is no template.

    Rendered, in this order: a renderer or parser is named; a gpt-oss template of the harmony form; a template layer
    that the setting asks for or, without a setting, that the GGUF's own template does not surpass. Else native.
    """
    go_text = DEFAULT_GO_TEMPLATE if facts.go_text is None else facts.go_text
    go = parsed_go(go_text)
    has_layer = facts.go_text is not None
    is_harmony = facts.family in HARMONY_FAMILIES and "<|start|>" in go_text and "<|end|>" in go_text
    uses_go = has_layer and (not _prefers_jinja(facts.jinja_text, go) if go_template is None else go_template)
    winner: Winner
    if facts.renderer and facts.parser:
        winner = "renderer_parser"
    elif facts.renderer:
        winner = "renderer"
    elif facts.parser:
        winner = "parser"
    elif is_harmony:
        winner = "harmony"
    elif uses_go:
        winner = "go_template"
    else:
        winner = "gguf_chat_template" if facts.jinja_text else "none"
    mode: Mode = "native" if winner in ("gguf_chat_template", "none") else "rendered"
    known = facts.parser if facts.parser in PARSER_ABILITIES else ""
    parser = known or ("harmony" if is_harmony and not facts.parser else "")
    counts_go = not has_layer or uses_go or winner in ("harmony", "parser", "renderer", "renderer_parser")
    return TemplateChoice(
        mode=mode,
        winner=winner,
        go_text=go_text,
        has_go_layer=has_layer,
        jinja_text=facts.jinja_text,
        renderer=facts.renderer,
        parser=parser,
        family=facts.family,
        capabilities=_capabilities(facts, mode, go if counts_go else None, parser),
    )


def _prefers_jinja(jinja: str, go: gotemplate.GoTemplate) -> bool:
    """Whether the GGUF's template is the richer one."""
    if not jinja:
        return False
    jinja_can, go_can = set(jinja_capabilities(jinja)), set(go.capabilities)
    jinja_trips, go_trips = _has_jinja_round_trip(jinja), go.has_tool_round_trip
    if len(jinja_can) > len(go_can):
        return jinja_trips or not go_trips
    return jinja_can == go_can and "tools" in jinja_can and jinja_trips and not go_trips


def jinja_capabilities(text: str) -> tuple[str, ...]:
    """Of tools and thinking, what the words of a Jinja template say."""
    splits = "content.split('</think>')" in text or 'content.split("</think>")' in text
    keeps_apart = "reasoning_content" in text or "<SPECIAL_12>" in text
    thinks = ("<think>" in text and "</think>" in text) or (splits and not keeps_apart)
    found = (("tools", "tools" in text or "tool_call" in text), ("thinking", thinks))
    return tuple(name for name, can in found if can)


def _has_jinja_round_trip(text: str) -> bool:
    results = (
        "tool_response", "tool_results", "role'] == 'tool'", "role'] == \"tool\"", "role\"] == 'tool'",
        'role"] == "tool"', "message.role == 'tool'", 'message.role == "tool"', "ipython",
    )  # fmt: skip
    return (
        "tools" in jinja_capabilities(text)
        and ("tool_calls" in text or "assistant_tool_call" in text)
        and any(mark in text for mark in results)
    )


def _capabilities(facts: TemplateFacts, mode: Mode, go: gotemplate.GoTemplate | None, parser: str) -> tuple[str, ...]:
    """Without duplicates, in the order in which they are found."""
    found = list(facts.config_capabilities)
    if facts.has_gguf:
        if mode == "native":
            found += jinja_capabilities(facts.jinja_text)
        found.append("embedding" if facts.has_pooling else "completion")
        found += ["vision"] * bool(facts.vision_blocks) + ["audio"] * bool(facts.audio_blocks)
    if facts.has_projector:
        found += ["vision"] * (not facts.blind_projector) + ["audio"] * facts.audio_projector
    if go:
        found += go.capabilities
    tools, thinking = PARSER_ABILITIES.get(parser, (False, False))
    found += ["tools"] * tools + ["thinking"] * thinking
    if facts.family in HARMONY_FAMILIES:
        found.append("thinking")
    if facts.family == "nemotron_h_omni":
        found = [name for name in found if name != "audio"]
    return tuple(dict.fromkeys(found))
