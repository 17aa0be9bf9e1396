"""GLM 4.7 and GLM OCR: the name of a tool, then pairs of keys and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.parsers import argument_pairs
from server.parsers.families.opening import Opening
from server.parsers.sections import BadCall, Call, SectionParser, Sections, State, thinks
from server.parsers.typed_values import Types, declared_types

CALL_TAGS = ("<tool_call>", "</tool_call>")
VISIBLE = ("<think>", "</think>", *CALL_TAGS, *argument_pairs.CYCLE)


def start_glm(opening: Opening) -> SectionParser:
    return _parser(opening, "thinking" if thinks(opening.think, True) else "either")


def start_ocr(opening: Opening) -> SectionParser:
    return _parser(opening, "either")


def _parser(opening: Opening, state: State) -> SectionParser:
    types = declared_types(opening.tools)
    sections = Sections(
        read=lambda body: read(body, types),
        finish=lambda body: finish(body, types, opening.tools),
        call_tags=CALL_TAGS,
        calls_end_thoughts=False,
    )
    return SectionParser(sections, state)


def read(body: str, types: Types) -> list[Call]:
    """Raises BadCall for a call that cannot be read, and for words that are no name."""
    name, pairs = argument_pairs.split(body)
    if not argument_pairs.is_name(name):
        raise BadCall("the call names no function")
    return [argument_pairs.named(name, pairs, types)]


def finish(body: str, types: Types, tools: Sequence[Mapping[str, Any]]) -> list[Call]:
    """An unclosed call counts when it is complete without repair; if it names no tool it is text. Raises BadCall."""
    name = body.partition("<")[0].strip()
    required = required_arguments(tools)
    if name not in required:
        return []
    if not argument_pairs.is_well_formed(body):
        raise BadCall("incomplete GLM tool call: its last tag is not closed")
    name, pairs = argument_pairs.split(body)
    keys = [key for key, _ in pairs]
    if not all(keys):
        raise BadCall("incomplete GLM tool call: empty argument name")
    for key in required.get(name, ()):
        if key not in keys:
            raise BadCall(f'incomplete GLM tool call: required argument "{key}" is missing for tool "{name}"')
    return read(body, types)


def required_arguments(tools: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Tool to the names of its required parameters."""
    found: dict[str, tuple[str, ...]] = {}
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, Mapping):
            parameters = function.get("parameters")
            required = parameters.get("required") if isinstance(parameters, Mapping) else None
            found[str(function.get("name", ""))] = tuple(map(str, required or ()))
    return found
