"""Values made from the JSON Schemas of our own requests, which use few of its keywords."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Schema = dict[str, Any]
Values = st.SearchStrategy[Any]

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def valid_values(schema: Schema) -> Values:
    """Values that fit the schema; members of an object may be missing."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type")
    if isinstance(kinds, list):
        return st.one_of(*(valid_values({**schema, "type": kind}) for kind in kinds))
    match kinds:
        case "string":
            return TEXTS
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(-(2**63), 2**63 - 1)
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False)
        case "array":
            return st.lists(valid_values(schema.get("items", {})), max_size=3)
        case "object":
            return _objects(schema)
        case _:
            return ANYTHING


def _objects(schema: Schema) -> Values:
    properties = {name: valid_values(inner) for name, inner in schema.get("properties", {}).items()}
    if properties:
        return st.fixed_dictionaries({}, optional=properties)
    return st.dictionaries(TEXTS, valid_values(schema.get("additionalProperties", {})), max_size=3)


def likely_values(schema: Schema) -> Values:
    """Mostly values that fit, now and then something else entirely, at any depth."""
    if schema.get("type") == "object" and "properties" in schema:
        members = {name: likely_values(inner) for name, inner in schema["properties"].items()}
        return _rarely_else(st.fixed_dictionaries({}, optional=members))
    if schema.get("type") == "array":
        return _rarely_else(st.lists(likely_values(schema.get("items", {})), max_size=3))
    return _rarely_else(valid_values(schema))


def _rarely_else(values: Values) -> Values:
    return st.integers(0, 39).flatmap(lambda dice: ANYTHING if dice == 0 else values)
