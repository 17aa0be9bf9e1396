"""The functions of templates: Go's own, and those that Ollama adds."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

from server.prompts.gotemplate import printing, quoting, values
from server.prompts.gotemplate.formatting import printf
from server.prompts.gotemplate.literals import to_bytes, to_text
from server.prompts.gotemplate.values import Byte, Value, WholeNumber, is_true, type_name


class CallFailed(Exception):
    """What a function has against its arguments; the evaluator adds the place."""


class BadArgument(CallFailed):
    """An argument of a type that the function does not take at all."""


class Function(NamedTuple):
    """`most`: None for any number of arguments."""

    call: Callable[[list[Value]], Value]
    least: int = 0
    most: int | None = None


# ---- comparing -----------------------------------------------------------------------------------------------------


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    for kind, name in ((float, "float"), (complex, "complex"), (str, "string")):
        if isinstance(value, kind):
            return name
    return ""


def _same_kind(left: Value, right: Value) -> bool:
    kinds = {_kind(left), _kind(right)}
    is_json = isinstance(left, WholeNumber) or isinstance(right, WholeNumber)
    return len(kinds) == 1 or (is_json and kinds == {"int", "float"})


def _incompatible(left: Value, right: Value) -> CallFailed:
    return CallFailed(f"incompatible types for comparison: {type_name(left)} and {type_name(right)}")


def _is_nil(value: Value) -> bool:
    is_collection = isinstance(value, (values.Sequence, values.Mapping))
    return value is None or (is_collection and value.is_absent and not isinstance(value, values.TypeNames))


def _equal(left: Value, right: Value) -> bool:
    if left is None or right is None:
        return _is_nil(left) and _is_nil(right)
    if not _kind(left) or not _kind(right):
        if isinstance(left, values.Message) and isinstance(right, values.Message):
            return left is right
        if type(left) is not type(right):
            raise _incompatible(left, right)
        raise CallFailed(f"non-comparable type {type_name(left)}")
    if not _same_kind(left, right):
        raise _incompatible(left, right)
    return bool(left == right)


def _eq(arguments: list[Value]) -> bool:
    if len(arguments) < 2:
        raise CallFailed("missing argument for comparison")
    return any(_equal(arguments[0], other) for other in arguments[1:])


def _less(left: Value, right: Value) -> bool:
    if _kind(left) not in ("int", "float", "string") or not _kind(right):
        raise CallFailed("invalid type for comparison")
    if not _same_kind(left, right):
        raise _incompatible(left, right)
    return to_bytes(left) < to_bytes(right) if isinstance(left, str) else bool(left < right)


def _at_most(left: Value, right: Value) -> bool:
    return _less(left, right) or _equal(left, right)


# ---- parts of things -----------------------------------------------------------------------------------------------


def _len(arguments: list[Value]) -> int:
    value = arguments[0]
    if isinstance(value, str):
        return len(to_bytes(value))
    if isinstance(value, (list, dict, bytes)):
        return len(value)
    raise CallFailed("len of nil pointer" if value is None else f"len of type {type_name(value)}")


def _position(index: Value, length: int) -> int:
    if isinstance(index, bool) or not isinstance(index, int):
        kind = "nil" if index is None else f"type {type_name(index)}"
        raise CallFailed(f"cannot index slice/array with {kind}")
    if not 0 <= index <= length:
        raise CallFailed(f"index out of range: {int(index)}")
    return int(index)


def _index(arguments: list[Value]) -> Value:
    value = arguments[0]
    if value is None:
        raise CallFailed("index of untyped nil")
    for index in arguments[1:]:
        value = _element(value, index)
    return value


def _element(value: Value, index: Value) -> Value:
    if value is None:
        raise CallFailed("index of nil pointer")
    if isinstance(value, dict):
        if not isinstance(index, str):
            raise CallFailed(f"value has type {type_name(index)}; should be string")
        return value.value(index) if isinstance(value, values.Mapping) else value.get(index)
    if not isinstance(value, (str, bytes, list)):
        raise CallFailed(f"can't index item of type {type_name(value)}")
    items = to_bytes(value) if isinstance(value, str) else value
    position = _position(index, len(items))
    if position == len(items):
        raise CallFailed(f"index out of range: {position}")
    return items[position] if isinstance(value, list) else Byte(items[position])


def _slice(arguments: list[Value]) -> Value:
    value, indexes = arguments[0], arguments[1:]
    if value is None:
        raise CallFailed("slice of untyped nil")
    if len(indexes) > 3:
        raise CallFailed(f"too many slice indexes: {len(indexes)}")
    if not isinstance(value, (str, bytes, list)):
        raise CallFailed(f"can't slice item of type {type_name(value)}")
    if len(indexes) == 3 and isinstance(value, str):
        raise CallFailed("cannot 3-index slice a string")
    items = to_bytes(value) if isinstance(value, str) else value
    bounds = [_position(index, len(items)) for index in indexes]
    for left, right in itertools.pairwise(bounds):
        if left > right:
            raise CallFailed(f"invalid slice index: {left} > {right}")
    start, end = (bounds + [0, len(items)][len(bounds) :])[:2]
    if isinstance(value, str):
        return to_text(to_bytes(value)[start:end])
    if isinstance(value, values.Sequence):
        return type(value)(value[start:end])
    return value[start:end]


# ---- texts ---------------------------------------------------------------------------------------------------------


def sprint(arguments: list[Value]) -> str:
    """The arguments with a space between two that are no strings."""
    pieces: list[str] = []
    for number, value in enumerate(arguments):
        if number and not isinstance(value, str) and not isinstance(arguments[number - 1], str):
            pieces.append(" ")
        pieces.append(printing.text(value))
    return "".join(pieces)


def _println(arguments: list[Value]) -> str:
    return " ".join(printing.text(value) for value in arguments) + "\n"


def _printf(arguments: list[Value]) -> str:
    return printf(_string(arguments[0]), arguments[1:])


def _string(value: Value) -> str:
    if not isinstance(value, str):
        raise BadArgument(f"expected string; found {printing.text(value)}")
    return value


def _escaper(escape: Callable[[str], str]) -> Function:
    def call(arguments: list[Value]) -> str:
        return escape(sprint([printing.NO_VALUE if value is None else value for value in arguments]))

    return Function(call)


def _json(arguments: list[Value]) -> str:
    try:
        return printing.json(arguments[0])
    except printing.Unprintable:
        return ""


def _date(days_ago: int) -> Function:
    def call(arguments: list[Value]) -> str:
        for argument in arguments:
            _string(argument)
        return (datetime.date.today() - datetime.timedelta(days=days_ago)).isoformat()

    return Function(call)


def _call(arguments: list[Value]) -> Value:
    if arguments[0] is None:
        raise CallFailed("call of nil")
    raise CallFailed(f"non-function {printing.text(arguments[0])} of type {type_name(arguments[0])}")


def _chosen(arguments: list[Value], stops_at: bool) -> Value:
    return next((value for value in arguments[:-1] if is_true(value) is stops_at), arguments[-1])


FUNCTIONS: dict[str, Function] = {
    "and": Function(lambda a: _chosen(a, False), 1),
    "or": Function(lambda a: _chosen(a, True), 1),
    "not": Function(lambda a: not is_true(a[0]), 1, 1),
    "eq": Function(_eq, 1),
    "ne": Function(lambda a: not _equal(a[0], a[1]), 2, 2),
    "lt": Function(lambda a: _less(a[0], a[1]), 2, 2),
    "le": Function(lambda a: _at_most(a[0], a[1]), 2, 2),
    "gt": Function(lambda a: not _at_most(a[0], a[1]), 2, 2),
    "ge": Function(lambda a: not _less(a[0], a[1]), 2, 2),
    "len": Function(_len, 1, 1),
    "index": Function(_index, 1),
    "slice": Function(_slice, 1),
    "print": Function(sprint),
    "println": Function(_println),
    "printf": Function(_printf, 1),
    "html": _escaper(quoting.html),
    "js": _escaper(quoting.js),
    "urlquery": _escaper(quoting.urlquery),
    "call": Function(_call, 1),
    "json": Function(_json, 1, 1),
    "currentDate": _date(0),
    "yesterdayDate": _date(1),
    "toTypeScriptType": Function(lambda a: values.to_typescript(a[0]), 1, 1),
}

_JSON_STRING: dict[str, Callable[[Any], Value]] = {"String": printing.text}
METHODS: dict[type, dict[str, Callable[[Any], Value]]] = {
    values.Tools: _JSON_STRING,
    values.Tool: _JSON_STRING,
    values.Arguments: _JSON_STRING,
    values.Properties: _JSON_STRING,
    values.NestedProperties: {
        "Len": len,
        "ToMap": lambda properties: values.Properties(dict(properties)),
        "All": lambda properties: values.InOrder(dict(properties)),
    },
    values.Property: {"ToTypeScriptType": values.to_typescript},
}
