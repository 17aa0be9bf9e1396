"""Tools with the keys of their schemas in the order in which models have mostly seen them.

The known keys come first, then all others as the client sent them. What is empty and would mean nothing is left out.
Within `items`, `$defs`, `enum` and the like keys are sorted by their bytes, as in the arguments of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Known = Mapping[str, Callable[[Any], Any]]


def by_key(value: Any) -> Any:
    """The same with the keys of all mappings sorted by their bytes."""
    if isinstance(value, Mapping):
        return {key: by_key(value[key]) for key in sorted(value, key=lambda key: str(key).encode(errors="replace"))}
    if isinstance(value, (list, tuple)):
        return [by_key(item) for item in value]
    return value


def arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call in their own order, and what is in them sorted."""
    return {key: by_key(value) for key, value in given.items()}


def canonical(tool: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_ordered(tool, _TOOL))


def parameters_of(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a function's arguments; empty where there is none."""
    return _mapping(function.get("parameters"))


def properties_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties of a schema; empty where there are none."""
    return _mapping(schema.get("properties"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _ordered(value: Any, known: Known) -> Any:
    if not isinstance(value, Mapping):
        return value
    first = {key: order(value[key]) for key, order in known.items() if key in value and not _says_nothing(key, value)}
    return first | {key: by_key(item) for key, item in value.items() if key not in known}


def _says_nothing(key: str, value: Mapping[str, Any]) -> bool:
    item = value[key]
    return item is None or (key in ("description", "required", "enum", "anyOf", "type") and not item)


def _property(value: Any) -> Any:
    return _ordered(value, _PROPERTY)


def _properties(value: Any) -> Any:
    return {name: _property(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _branches(value: Any) -> Any:
    return [_property(item) for item in value] if isinstance(value, (list, tuple)) else value


def _type(value: Any) -> Any:
    """One name, or several in a list."""
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value


def _same(value: Any) -> Any:
    return value


_PROPERTY: Known = {
    "anyOf": _branches, "type": _type, "items": by_key, "description": _same, "enum": by_key,
    "properties": _properties, "required": _same,
}  # fmt: skip
_PARAMETERS: Known = {
    "type": _same, "$defs": by_key, "items": by_key, "required": _same, "properties": _properties,
}  # fmt: skip
_FUNCTION: Known = {"name": _same, "description": _same, "parameters": lambda value: _ordered(value, _PARAMETERS)}
_TOOL: Known = {"type": _same, "items": by_key, "function": lambda value: _ordered(value, _FUNCTION)}
