"""Laguna and Poolside: pairs of keys and values as in GLM, or JSON, between the same tags."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from server.parsers import argument_pairs, json_text
from server.parsers.base import AnswerParser, Chain
from server.parsers.families.opening import Opening
from server.parsers.families.untagged import Numbered, UntaggedCalls
from server.parsers.sections import BadCall, Call, SectionParser, Sections, thinks
from server.parsers.tools import function_names
from server.parsers.typed_values import Types, declared_types

CALL_TAGS = ("<tool_call>", "</tool_call>")
VISIBLE = ("<think>", "</think>", *CALL_TAGS, "<user>", "</user>", *argument_pairs.CYCLE)
# Names that these models know from elsewhere, and those of the tools that are meant.
ALIASES = {"read_file": "read", "write_file": "write", "edit_file": "edit", "web_fetch": "webfetch"}
_PAIR = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_NAME = re.compile(r"\s*([^\s<{]+)\s*")


def start_laguna(opening: Opening) -> AnswerParser:
    return _parser(opening)


def start_poolside(opening: Opening) -> AnswerParser:
    """An answer that the client began is not continued."""
    return _parser(msgspec.structs.replace(opening, last=None))


def _parser(opening: Opening) -> AnswerParser:
    types = declared_types(opening.tools)
    declared = frozenset(function_names(opening.tools))
    is_thinking = thinks(opening.think, False)
    sections = Sections(
        read=lambda body: read(body, types, declared),
        finish=lambda body: _finish(body, types, declared),
        call_tags=CALL_TAGS,
        skips_lead=True,
        shows_thinking=is_thinking,
        reopens=True,
    )
    parser = SectionParser(sections, "lead" if opening.begins_with_thought(False) else "content")
    if not declared:
        return parser
    names = declared | {name for name, meant in ALIASES.items() if meant in declared}
    return Numbered(Chain(parser, UntaggedCalls(names, lambda body: read(body, types, declared))))


def read(body: str, types: Types, declared: frozenset[str]) -> list[Call]:
    """A body without a name is no call. Raises BadCall."""
    body = body.replace(CALL_TAGS[0], "")
    if body.lstrip().startswith("{"):
        try:
            name, arguments = json_text.read_call(body)
        except ValueError as error:
            raise BadCall(str(error)) from None
        return [(_meant(name, declared), arguments)]
    match = _NAME.match(body)
    if match is None:
        return []
    name, rest = _meant(match[1], declared), body[match.end() :]
    if rest.startswith("{"):
        return [(name, _object(rest))]
    pairs = [(key.strip(), value) for key, value in _PAIR.findall(rest)]
    return [argument_pairs.named(name, pairs, types)]


def _meant(name: str, declared: frozenset[str]) -> str:
    alias = ALIASES.get(name, name)
    return alias if alias in declared else name


def _object(text: str) -> dict[str, Any]:
    try:
        value = json_text.read(text)
    except ValueError as error:
        raise BadCall(f"failed to parse JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadCall("failed to parse JSON: the arguments are no object")
    return value


def _finish(body: str, types: Types, declared: frozenset[str]) -> list[Call]:
    """An unclosed call counts when nothing of it is missing."""
    try:
        calls = read(body, types, declared)
    except BadCall:
        return []
    is_whole = "{" in body or argument_pairs.is_well_formed(body)
    return [call for call in calls if is_whole and call[0] in declared]
