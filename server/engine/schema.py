"""What a JSON schema must be before it is compiled: of a bearable size, and such that its values can end.

The compiler refuses the keywords that it cannot enforce. Here is refused what it would accept but not hold to, and
what would take it minutes: it offers no way to stop it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from server.errors import InvalidRequest

MOST_BYTES = 1 << 20
MOST_SCHEMAS = 20_000  # schemas within the schema
MOST_OPTIONAL = 400  # optional properties of one object: the parser follows all that may come next at once
LARGEST_FACTOR = 2000  # of multipleOf, without its factors 2 and 5: an automaton has so many states
OPTIONS = "x-guidance"  # the compiler's own options, which could switch the enforcement off
LONGEST_SPACE = r"[ \t\r\n]{1,100}"  # one gap between two words: a model that only writes spaces would never end

_SCHEMAS = ("additionalProperties", "items", "additionalItems")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions")


def checked_schema(source: str) -> str:
    """The schema with the options it shall be compiled with. Raises InvalidRequest with the reason."""
    if len(source) > MOST_BYTES:
        raise _refused(f"it has {len(source)} characters; the limit is {MOST_BYTES}")
    try:
        root = json.loads(source, parse_constant=_no_constant)
        if not isinstance(root, dict):
            raise _refused("it is not an object")
        whitespace = _whitespace(root.pop(OPTIONS, None))
        nodes = list(_nodes(root))
        for node in nodes:
            _check(node)
        _check_ends(root, nodes)
        return json.dumps({**root, OPTIONS: whitespace}, ensure_ascii=False)
    except ValueError as error:
        raise _refused(f"it is not JSON: {error}") from None
    except RecursionError:
        raise _refused("it is nested too deeply") from None


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The schema cannot be enforced: {reason}.")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _whitespace(options: Any) -> dict[str, Any]:
    """White space anywhere, or none: the one option that a client may set."""
    if options is None or options == {"whitespace_flexible": True}:
        return {"whitespace_pattern": LONGEST_SPACE}
    if options == {"whitespace_flexible": False}:
        return {"whitespace_flexible": False}
    raise _refused(f"of {OPTIONS} only whitespace_flexible is known")


def _nodes(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema within the schema, itself first."""
    count = 0
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue  # true and false are schemas too; what is neither, the compiler refuses
        count += 1
        if count > MOST_SCHEMAS:
            raise _refused(f"it holds more than {MOST_SCHEMAS} schemas")
        yield node
        waiting += _children(node)


def _children(node: dict[str, Any]) -> list[Any]:
    found = [node.get(key) for key in _SCHEMAS]
    for key in _LISTS:
        listed = node.get(key)
        found += listed if isinstance(listed, list) else []
    for key in _MAPS:
        mapped = node.get(key)
        found += mapped.values() if isinstance(mapped, dict) else []
    return found


def _check(node: dict[str, Any]) -> None:
    required = node.get("required")
    needed = set(map(str, required)) if isinstance(required, list) else set()
    properties = node.get("properties")
    if isinstance(properties, dict) and len(properties.keys() - needed) > MOST_OPTIONAL:
        raise _refused(f"an object has more than {MOST_OPTIONAL} optional properties; make some of them required")
    least = node.get("minProperties")
    if isinstance(least, int) and least > len(needed) + 1:
        raise _refused("minProperties would count a key that comes twice as two; name the properties in required")
    multiple = node.get("multipleOf")
    if isinstance(multiple, (int, float)) and _factor(multiple) > LARGEST_FACTOR:
        raise _refused(f"multipleOf {multiple} is too large")


def _factor(multiple: float) -> int:
    """The part of the number that is not a product of 2 and 5."""
    number = Fraction(str(multiple)).numerator if multiple else 0
    for prime in (2, 5):
        while number and number % prime == 0:
            number //= prime
    return abs(number)


# ---- values without end ----------------------------------------------------------------------------------------------


def _check_ends(root: dict[str, Any], nodes: list[dict[str, Any]]) -> None:
    """Refuse a schema within which some value could only be endless, such as an object that requires its like."""
    if not any("$ref" in node for node in nodes):
        return
    ending: set[int] = set()
    waiting = nodes
    while waiting:
        rest = [node for node in waiting if not _ends(node, root, ending)]
        if len(rest) == len(waiting):
            raise _refused("it refers to itself in a way that no finite value fits")
        ending |= {id(node) for node in waiting} - {id(node) for node in rest}
        waiting = rest


def _ends(node: dict[str, Any], root: dict[str, Any], ending: set[int]) -> bool:
    """Whether a value of `node` can end when those in `ending` can."""

    def ends(child: Any) -> bool:
        return not isinstance(child, dict) or id(child) in ending

    if "$ref" in node and not ends(_target(root, node["$ref"])):
        return False
    for key in ("anyOf", "oneOf"):
        choices = node.get(key)
        if isinstance(choices, list) and choices and not any(map(ends, choices)):
            return False
    return all(map(ends, _needed(node)))


def _needed(node: dict[str, Any]) -> Iterator[Any]:
    """The schemas of what a value of `node` cannot be without."""
    parts = node.get("allOf")
    yield from parts if isinstance(parts, list) else ()
    kinds = node.get("type", "object")
    if kinds == "object" or kinds == ["object"]:
        properties, required = node.get("properties"), node.get("required")
        for name in required if isinstance(required, list) else ():
            if isinstance(properties, dict) and name in properties:
                yield properties[name]
            else:
                yield node.get("additionalProperties")
    least = node.get("minItems")
    if (kinds == "array" or kinds == ["array"]) and isinstance(least, int) and least > 0:
        first = node.get("prefixItems")
        listed = first[:least] if isinstance(first, list) else []
        yield from listed
        if len(listed) < least:
            yield node.get("items")


def _target(root: dict[str, Any], reference: Any) -> Any:
    """What a reference within the schema points to; None for any other, which the compiler judges."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found: Any = root
    for word in reference[1:].split("/")[1:]:
        key = unquote(word).replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(key)
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found
