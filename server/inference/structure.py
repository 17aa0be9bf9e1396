"""What the answer to a request must be: the request's `format`, or a call where one is demanded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from server.errors import InvalidRequest, Unsupported
from server.inference.thoughts import family_name, thought_of
from server.messages.chat import GenerationRequest
from server.messages.frames import Grammar
from server.parsers.families import FAMILIES
from server.prompts.gotemplate.quoting import quoted
from server.prompts.selection import TemplateChoice

_NONE = ("", "null", '""')
_JSON_CALLS = frozenset({"qwen3", "qwen3-thinking", "qwen3-vl-instruct", "qwen3-vl-thinking"})
_NATIVE_TAGS = (("<tool_call>", "<tool_call>"), ("[TOOL_CALLS]", "[TOOL_CALLS]"))


def grammar_of(request: GenerationRequest, choice: TemplateChoice, prompt: str) -> Grammar | None:
    """None where the answer is free. Raises InvalidRequest for a format that is none, Unsupported for a model whose
    calls cannot be demanded."""
    form = _format(request.format.strip())
    if request.grammar:
        form = Grammar(kind="gbnf", source=request.grammar)
    if request.must_call and request.tools:
        form = _demanded_call(request.tools, choice)
    elif form is not None and request.tools:
        tag = _call_tag(choice)
        form = msgspec.structs.replace(form, unless=(tag,) if tag and tag not in "{[" else ())
    if form is None:
        return None
    thought = thought_of(request, choice, prompt)
    return msgspec.structs.replace(form, opening=thought.opening, after=thought.endings, bridge=thought.bridge)


def _format(text: str) -> Grammar | None:
    """The `format` of a request, which is raw JSON."""
    if text in _NONE:
        return None
    if text == '"json"':
        return Grammar(kind="json_object")
    if text.startswith("{"):
        return Grammar(kind="json_schema", source=text)
    raise InvalidRequest(f'invalid format: {quoted(text)}; expected "json" or a valid JSON Schema object')


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
    name = family_name(choice, has_tools=True)
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
