"""Calls as `NAME<arg_key>K</arg_key><arg_value>V</arg_value>`, with tags that models forget."""

from __future__ import annotations

import re

from server.parsers.sections import BadCall, Call
from server.parsers.typed_values import Types, typed

CYCLE = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
_TAG = re.compile("|".join(CYCLE))
_NAME = re.compile(r"[^\W\d][\w.-]*")

Pairs = list[tuple[str, str]]


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def read(body: str, types: Types) -> Call:
    """A call, completed where tags are missing. Raises BadCall."""
    name, pairs = split(body)
    return named(name, pairs, types)


def named(name: str, pairs: Pairs, types: Types) -> Call:
    declared = types.get(name, {})
    return name, {key: typed(_inner(value), declared.get(key, ())) for key, value in pairs}


def split(body: str) -> tuple[str, Pairs]:
    """The name, and the keys with their values as they stand. Raises BadCall."""
    texts, tags = _TAG.split(body), [CYCLE.index(tag) for tag in _TAG.findall(body)]
    if is_well_formed(body):
        return _well_formed(texts, tags)
    return _repaired(texts, tags)


def is_well_formed(body: str) -> bool:
    """Whether every opening tag is followed by its own closing one."""
    tags = [CYCLE.index(tag) for tag in _TAG.findall(body)]
    opening, closing = tags[::2], tags[1::2]
    return len(opening) == len(closing) and all(
        left % 2 == 0 and right == left + 1 for left, right in zip(opening, closing, strict=True)
    )


def _well_formed(texts: list[str], tags: list[int]) -> tuple[str, Pairs]:
    name = "".join(texts[::2]).strip()
    keys = [text.strip() for text, tag in zip(texts[1::2], tags[::2], strict=True) if tag == 0]
    values = [text for text, tag in zip(texts[1::2], tags[::2], strict=True) if tag == 2]
    if not name:
        raise BadCall("empty function name")
    if len(keys) != len(values):
        raise BadCall(f"mismatched arg_key and arg_value counts: {len(keys)} keys, {len(values)} values")
    return name, list(zip(keys, values, strict=True))


def _repaired(texts: list[str], tags: list[int]) -> tuple[str, Pairs]:
    """Walk round the four tags, putting in those that are missing: an opening one before the text, a closing one
    behind it."""
    name, text = texts[0].strip(), ""
    if tags and tags[0] == 1:
        name, _, text = name.partition(" ")
    filled: list[str] = []
    expected = 0
    for position, tag in enumerate(tags):
        before = texts[position] if position else text
        while expected != tag:
            if expected % 2:
                filled.append(before)
                before = ""
            expected = (expected + 1) % 4
        if tag % 2:
            filled.append(before)
        expected = (tag + 1) % 4
    rest = texts[-1] if tags else ""
    while expected:
        if expected % 2:
            filled.append(rest)
            rest = ""
        expected = (expected + 1) % 4
    if not name:
        raise BadCall("empty function name")
    return name, [(filled[at].strip(), filled[at + 1]) for at in range(0, len(filled) - 1, 2)]


def _inner(text: str) -> str:
    """The text without one line break at each end."""
    return text.replace("\r\n", "\n").removeprefix("\n").removesuffix("\n")
