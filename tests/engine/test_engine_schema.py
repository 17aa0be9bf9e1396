"""What is refused before a schema is compiled, and what the compiler gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.engine.schema import LONGEST_SPACE, OPTIONS, checked_schema
from server.errors import InvalidRequest

ENDLESS = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"left": {"$ref": "#/$defs/node"}, "value": {"type": "integer"}},
            "required": ["value"],
        }
    },
}


def _checked(schema: Any) -> dict[str, Any]:
    checked: dict[str, Any] = json.loads(checked_schema(json.dumps(schema)))
    return checked


def test_members_keep_their_order_and_numbers_their_digits() -> None:
    source = '{"type": "object", "properties": {"b": {"const": 12345678901234567890123}, "a": {}}, "required": []}'
    checked = json.loads(checked_schema(source))
    assert list(checked["properties"]) == ["b", "a"]
    assert checked["properties"]["b"]["const"] == 12345678901234567890123


def test_white_space_is_free_but_bounded_and_can_be_switched_off() -> None:
    assert _checked({})[OPTIONS] == {"whitespace_pattern": LONGEST_SPACE}
    assert _checked({OPTIONS: {"whitespace_flexible": False}})[OPTIONS] == {"whitespace_flexible": False}


def test_options_that_would_switch_the_enforcement_off_are_refused() -> None:
    for options in ({"lenient": True}, {"item_separator": ";"}, "x", {"whitespace_flexible": 0, "lenient": True}):
        with pytest.raises(InvalidRequest, match="only whitespace_flexible"):
            _checked({OPTIONS: options})


@pytest.mark.parametrize("schema", [TREE, {"type": "array", "items": {"$ref": "#"}}, {"anyOf": [TREE, {"$ref": "#"}]}])
def test_schemas_that_refer_to_themselves_may_end(schema: dict[str, Any]) -> None:
    schema = {**schema, "$defs": TREE["$defs"]}
    assert _checked(schema)["$defs"] == schema["$defs"]


@pytest.mark.parametrize(
    "schema",
    [
        ENDLESS,
        {"$ref": "#"},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"anyOf": [{"$ref": "#"}]},
        {"allOf": [{"type": "object"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"properties": {"x": {"$ref": "#/$defs/a~1b"}}, "$defs": {"a/b": {"$ref": "#/$defs/a~1b"}}},
    ],
)
def test_schemas_without_any_finite_value_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="no finite value"):
        _checked(schema)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"multipleOf": 1000003}, "multipleOf"),
        ({"items": {"multipleOf": 0.0999983}}, "multipleOf"),
        ({"properties": {f"p{n}": {} for n in range(500)}}, "optional properties"),
        ({"minProperties": 2}, "minProperties"),
        ({"anyOf": [{"type": "string"}] * 30_000}, "more than 20000 schemas"),
        ({"description": "x" * (1 << 20)}, "characters"),
    ],
)
def test_what_would_take_minutes_or_could_not_be_kept_is_refused(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        _checked(schema)


def test_large_round_multiples_and_required_properties_are_fine() -> None:
    many = [f"p{n}" for n in range(500)]
    _checked({"multipleOf": 100_000})
    _checked({"multipleOf": 0.01})
    _checked({"properties": {name: {} for name in many}, "required": many})
    _checked({"required": ["a"], "minProperties": 2})


@pytest.mark.parametrize("source", ["{", "[1]", '{"a": NaN}', "[" * 100_000, '{"a":' * 100_000, ""])
def test_what_is_no_schema_is_refused_with_a_sentence(source: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^The schema cannot be enforced: .*\.$"):
        checked_schema(source)
