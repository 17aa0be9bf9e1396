"""Where the thought of an answer begins and ends, by the model that writes it."""

from __future__ import annotations

from typing import NamedTuple

from server.messages.chat import GenerationRequest
from server.messages.frames import ThoughtLimit
from server.parsers.choose import marked_parser
from server.parsers.families import FAMILIES, Opening
from server.parsers.families.opening import THINK_TAGS
from server.parsers.sections import is_begun
from server.prompts.selection import TemplateChoice

_HARMONY_FINAL = "<|channel|>final<|message|>"
_CONSTRAINED = tuple(f"<|channel|>final{space}<|constrain|>json<|message|>" for space in (" ", ""))

# Families whose thoughts are not between the usual tags, or whose content stands behind a tag of its own.
_TAGS: dict[str, tuple[str, str]] = {"gemma4": ("<|channel>", "<channel|>"), "ministral": ("[THINK]", "[/THINK]")}
_CONTENT: dict[str, tuple[tuple[str, ...], str]] = {
    "harmony": ((_HARMONY_FINAL, *_CONSTRAINED), f"<|end|><|start|>assistant{_HARMONY_FINAL}"),
    "cohere": (("<|START_RESPONSE|>", "<|START_TEXT|>"), ""),
    "glimmer": (("<|message|>",), ""),
}
# Those that begin with a thought when they think, whether the prompt ends with its opening tag or not.
_THINK_FIRST: dict[str, bool] = {  # and whether they do so unless told
    "qwen3-thinking": True, "qwen3-vl-thinking": True, "qwen3.5": True, "ornith": True, "nemotron-3-nano": True,
    "nemotron-3.5-nano": True, "deepseek3": False, "cogito": False, "olmo3-think": True, "glm-4.7": True,
    "laguna": False, "poolside-v1": False,
}  # fmt: skip


class Thought(NamedTuple):
    """The tag that may open a thought ("" where it has begun, or where none can come), the texts behind which the
    answer begins, and what is written to get there. Without `endings` nothing is known of thoughts."""

    opening: str = ""
    endings: tuple[str, ...] = ()
    bridge: str = ""


def family_name(choice: TemplateChoice, has_tools: bool) -> str:
    """The built-in parser that reads the answer, "" for the generic one."""
    if choice.mode != "native":
        return choice.parser if choice.parser in FAMILIES else ""
    name = marked_parser(choice.jinja_text)
    family = FAMILIES.get(name)
    if family is None or (not has_tools and (not family.thinks or THINK_TAGS[1] in family.visible)):
        return ""
    return name


def thought_of(request: GenerationRequest, choice: TemplateChoice, prompt: str) -> Thought:
    """`prompt` is the rendered one, which may have begun the thought."""
    if request.as_written:
        return Thought()
    last = request.messages[-1] if request.messages else None
    name = family_name(choice, bool(request.tools))
    shows_tags = choice.mode == "native" and all(tag in choice.jinja_text for tag in THINK_TAGS)
    opens_thought = prompt.rstrip().endswith(THINK_TAGS[0])
    if is_begun(last) and name and not opens_thought:
        return Thought()
    if name in _CONTENT:
        after, bridge = _CONTENT[name]
        if prompt.endswith(after):  # the prompt has opened the content
            return Thought()
        return Thought("", after, "" if request.tools else bridge)
    tags: tuple[str, str] | None = _TAGS.get(name, THINK_TAGS)
    is_first = False
    if shows_tags and (not name or THINK_TAGS[1] in FAMILIES[name].visible or not FAMILIES[name].thinks):
        tags = THINK_TAGS
    elif name in _THINK_FIRST:
        opening = Opening(think=request.think, last=last, prompt=prompt)
        is_first = opening.begins_with_thought(_THINK_FIRST[name])
        tags = tags if is_first else None
    elif name and name not in _TAGS:
        tags = THINK_TAGS if FAMILIES[name].thinks and request.think else None
    elif not name:
        tags = choice.thinking_tags if request.think and choice.mode != "native" else None
    if tags is None:
        return Thought()
    has_begun = is_first or prompt.rstrip().endswith((tags[0], f"{tags[0]}thought"))
    return Thought("" if has_begun else tags[0], (tags[1],), tags[1])


def thought_limit(request: GenerationRequest, choice: TemplateChoice, prompt: str) -> ThoughtLimit | None:
    """None where the request sets no bound, or the model has no thoughts to bound."""
    budget = request.thinking_budget_tokens
    if budget is None or budget < 0:
        return None
    thought = thought_of(request, choice, prompt)
    if not thought.endings:
        return None
    closing = request.thinking_budget_message + (thought.bridge or thought.endings[0])
    return ThoughtLimit(tokens=budget, opening=thought.opening, endings=thought.endings, closing=closing)
