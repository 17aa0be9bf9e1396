"""What the answer to a request must be: the request's `format`, or a call where one is demanded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from server.errors import InvalidRequest, Unsupported
from server.messages.chat import GenerationRequest, Message
from server.messages.frames import Grammar
from server.parsers.choose import marked_parser
from server.parsers.families import FAMILIES, Opening
from server.parsers.families.opening import THINK_TAGS
from server.parsers.sections import is_begun
from server.prompts.gotemplate.quoting import quoted
from server.prompts.selection import TemplateChoice

_NONE = ("", "null", '""')
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
_JSON_CALLS = frozenset({"qwen3", "qwen3-thinking", "qwen3-vl-instruct", "qwen3-vl-thinking"})
_NATIVE_TAGS = (("<tool_call>", "<tool_call>"), ("[TOOL_CALLS]", "[TOOL_CALLS]"))


def grammar_of(request: GenerationRequest, choice: TemplateChoice, prompt: str) -> Grammar | None:
    """None where the answer is free. Raises InvalidRequest for a format that is none, Unsupported for a model whose
    calls cannot be demanded."""
    last = request.messages[-1] if request.messages else None
    form = _format(request.format.strip())
    if request.must_call and request.tools:
        form = _demanded_call(request.tools, choice)
    elif form is not None and request.tools:
        tag = _call_tag(choice)
        form = msgspec.structs.replace(form, unless=(tag,) if tag and tag not in "{[" else ())
    if form is None:
        return None
    opening, after, bridge = _thought(request, choice, prompt, last)
    return msgspec.structs.replace(form, opening=opening, after=after, bridge=bridge)


def _format(text: str) -> Grammar | None:
    """The `format` of a request, which is raw JSON."""
    if text in _NONE:
        return None
    if text == '"json"':
        return Grammar(kind="json_object")
    if text.startswith("{"):
        return Grammar(kind="json_schema", source=text)
    raise InvalidRequest(f'invalid format: {quoted(text)}; expected "json" or a valid JSON Schema object')


# ---- thoughts --------------------------------------------------------------------------------------------------------


def _family(choice: TemplateChoice, has_tools: bool) -> str:
    """The built-in parser that reads the answer, "" for the generic one."""
    if choice.mode != "native":
        return choice.parser if choice.parser in FAMILIES else ""
    name = marked_parser(choice.jinja_text)
    family = FAMILIES.get(name)
    if family is None or (not has_tools and (not family.thinks or THINK_TAGS[1] in family.visible)):
        return ""
    return name


def _thought(
    request: GenerationRequest, choice: TemplateChoice, prompt: str, last: Message | None
) -> tuple[str, tuple[str, ...], str]:
    """The tag that may open a thought first, the texts behind which the answer begins, and the bridge to it."""
    name = _family(choice, bool(request.tools))
    shows_tags = choice.mode == "native" and all(tag in choice.jinja_text for tag in THINK_TAGS)
    opens_thought = prompt.rstrip().endswith(THINK_TAGS[0])
    if is_begun(last) and name and not opens_thought:
        return "", (), ""
    if name in _CONTENT:
        after, bridge = _CONTENT[name]
        if prompt.endswith(after):  # the prompt has opened the content
            return "", (), ""
        return "", after, "" if request.tools else bridge
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
        return "", (), ""
    has_begun = is_first or prompt.rstrip().endswith((tags[0], f"{tags[0]}thought"))
    return "" if has_begun else tags[0], (tags[1],), tags[1]


# ---- calls -----------------------------------------------------------------------------------------------------------


def _demanded_call(tools: tuple[dict[str, Any], ...], choice: TemplateChoice) -> Grammar:
    """One call of one of the tools, in the syntax that the model's template shows."""
    tag = _call_tag(choice)
    text = choice.jinja_text if choice.mode == "native" else choice.go_text
    if not tag:
        raise Unsupported(
            "This model writes tool calls in a form that Puna cannot demand yet; leave tool_choice at auto."
        )
    key: Literal["arguments", "parameters"] = "arguments"
    if '"parameters":' in text and '"arguments"' not in text:
        key = "parameters"
    calls = [_call_schema(tool.get("function"), key, f"#/anyOf/{at}") for at, tool in enumerate(tools)]
    source = msgspec.json.encode({"anyOf": calls}).decode()
    before, behind = _around(tag, text)
    return Grammar(kind="json_schema", source=source, before=before, behind=behind)


def _call_tag(choice: TemplateChoice) -> str:
    """What opens a call that is JSON; "" where it is not, or not known."""
    name = _family(choice, has_tools=True)
    if name in _JSON_CALLS:
        return "<tool_call>"
    if name and FAMILIES[name].calls:
        return ""
    if choice.mode == "native":
        return next((tag for mark, tag in _NATIVE_TAGS if mark in choice.jinja_text), "{")
    return choice.tool_tag


def _around(tag: str, text: str) -> tuple[str, str]:
    """What stands before and behind the object of a call."""
    if tag == "{":
        return "", ""
    if tag.endswith("]") or tag == "[":  # Mistral's form: a list of calls behind a word in brackets
        return ("[", "]") if tag == "[" else (f"{tag} [", "]")
    closing = tag.replace("<", "</", 1)
    return (f"{tag}\n", f"\n{closing}") if tag.startswith("<") and closing in text else (f"{tag}\n", "")


def _call_schema(function: Any, key: str, place: str) -> dict[str, Any]:
    """`place`: where the schema will stand, for the references within it."""
    described = function if isinstance(function, Mapping) else {}
    arguments = described.get("parameters")
    if not isinstance(arguments, Mapping) or not arguments:
        arguments = {"type": "object"}
    arguments = _moved(arguments, f"{place}/properties/{key}")
    return {
        "type": "object",
        "properties": {"name": {"const": str(described.get("name", ""))}, key: arguments},
        "required": ["name", key],
        "additionalProperties": False,
    }


def _moved(value: Any, place: str) -> Any:
    """A schema whose references within itself lead from the root of the one that it becomes a part of."""
    if isinstance(value, list):
        return [_moved(item, place) for item in value]
    if not isinstance(value, Mapping):
        return value
    moved = {name: _moved(item, place) for name, item in value.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        moved["$ref"] = place + reference[1:]
    return moved
