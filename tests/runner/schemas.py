"""Schemas by chance, each with values that end soon."""

from __future__ import annotations

import random
import string
from typing import Any

Schema = dict[str, Any]


def make_schema(chance: random.Random, depth: int = 3) -> Schema:
    kinds = [_string, _integer, _number, _enum, _plain, _const]
    if depth > 0:
        kinds += [_object, _object, _object, _array, _choice]
    return chance.choice(kinds)(chance, depth - 1)


def _string(chance: random.Random, depth: int) -> Schema:
    patterns = ["^[a-z]{2,5}$", "^(red|green)-[0-9]{3}$", "^\\d{4}-\\d\\d$", '^[^"x]{1,4}é?$']
    if chance.random() < 0.4:
        return {"type": "string", "pattern": chance.choice(patterns)}
    least = chance.randrange(4)
    return {"type": "string", "minLength": least, "maxLength": least + chance.randrange(1, 6)}


def _integer(chance: random.Random, depth: int) -> Schema:
    least = chance.randrange(-1000, 1000)
    schema: Schema = {"type": "integer", "minimum": least, "exclusiveMaximum": least + chance.randrange(1, 5000)}
    return schema | ({"multipleOf": chance.randrange(1, 20), "exclusiveMaximum": least + 100} if depth % 2 else {})


def _number(chance: random.Random, depth: int) -> Schema:
    return {"type": "number", "exclusiveMinimum": chance.uniform(-5, 0), "maximum": round(chance.uniform(1, 500), 2)}


def _plain(chance: random.Random, depth: int) -> Schema:
    return {"type": chance.choice(["boolean", "null", ["boolean", "null"]])}


def _const(chance: random.Random, depth: int) -> Schema:
    return {"const": chance.choice([1.5, 'a"b\\', None, True, {"x": [1, "ü"]}, []])}


def _enum(chance: random.Random, depth: int) -> Schema:
    return {"enum": chance.sample(["red", "dark green", 7, -0.5, None, False, {"k": "v"}, [1, 2], "日本"], 3)}


def _array(chance: random.Random, depth: int) -> Schema:
    least = chance.randrange(3)
    schema: Schema = {"type": "array", "minItems": least, "maxItems": least + chance.randrange(1, 3)}
    if chance.random() < 0.3:
        schema["prefixItems"] = [make_schema(chance, depth), make_schema(chance, depth)]
    return schema | {"items": make_schema(chance, depth)}


def _object(chance: random.Random, depth: int) -> Schema:
    names = ["".join(chance.choices(string.ascii_letters + '_ é"', k=chance.randrange(1, 7))) for _ in range(4)]
    properties = {name: make_schema(chance, depth) for name in names}
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if chance.random() < 0.6],
        "additionalProperties": False,
    }


def _choice(chance: random.Random, depth: int) -> Schema:
    return {"anyOf": [make_schema(chance, depth) for _ in range(chance.randrange(2, 4))]}
