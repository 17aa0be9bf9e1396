"""The values that templates see besides bool, int, float, complex, str, bytes, dict, list and None.

Each knows its fields, its methods and how it looks as JSON. None is Go's nil and a key that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

Value = Any


class WholeNumber(int):
    """An integer of a JSON text. Go makes it a float; here it stays whole, and compares with both."""


class Record:
    """A struct: a fixed set of fields. An unknown one is an error, unlike a key of a map."""

    type_name: ClassVar[str] = "struct"

    def __init__(self, **fields: Value) -> None:
        self.fields = fields

    def json_fields(self) -> Iterator[tuple[str, Value]]:
        yield from self.fields.items()


class Sequence(list[Value]):
    """A list that may be absent: then it is as empty, and null in JSON."""

    type_name: ClassVar[str] = "[]interface {}"

    def __init__(self, items: Any = None) -> None:
        super().__init__(items or ())
        self.is_absent = items is None


class Mapping(dict[str, Value]):
    """A map with methods, which may be absent: then it is as empty, and null in JSON."""

    type_name: ClassVar[str] = "map[string]interface {}"
    keeps_order: ClassVar[bool] = False

    def __init__(self, items: Any = None) -> None:
        super().__init__(items or ())
        self.is_absent = items is None

    def value(self, key: str) -> Value:
        return self.get(key)


class Message(Record):
    type_name = "*template.templateMessage"


class Call(Record):
    type_name = "template.templateToolCall"


class CalledFunction(Record):
    type_name = "template.templateToolCallFunction"


class Arguments(Mapping):
    type_name = "template.templateArgs"


class Tools(Sequence):
    type_name = "template.templateTools"


class Tool(Record):
    type_name = "template.templateTool"

    def json_fields(self) -> Iterator[tuple[str, Value]]:
        yield "type", self.fields["Type"]
        if self.fields["Items"] is not None:
            yield "items", self.fields["Items"]
        yield "function", self.fields["Function"]


class ToolFunction(Record):
    type_name = "template.templateToolFunction"

    def json_fields(self) -> Iterator[tuple[str, Value]]:
        for name in ("Name", "Description", "Parameters"):
            yield name.lower(), self.fields[name]


class Parameters(Record):
    type_name = "template.templateToolFunctionParameters"

    def json_fields(self) -> Iterator[tuple[str, Value]]:
        yield "type", self.fields["Type"]
        if self.fields["Defs"] is not None:
            yield "$defs", self.fields["Defs"]
        if self.fields["Items"] is not None:
            yield "items", self.fields["Items"]
        if self.fields["Required"]:
            yield "required", self.fields["Required"]
        yield "properties", self.fields["Properties"]


class TypeNames(Sequence):
    """The types of a property: one prints as a word, several as a list."""

    type_name = "api.PropertyType"


class Property(Record):
    type_name = "api.ToolProperty"

    def json_fields(self) -> Iterator[tuple[str, Value]]:
        for key in ("anyOf", "type", "items", "description", "enum", "properties", "required"):
            value = self.fields[key[0].upper() + key[1:]]
            if isinstance(value, (Sequence, str)):
                shown = bool(value)
            else:
                shown = value is not None and not (isinstance(value, Mapping) and value.is_absent)
            if shown:
                yield key, value


class Properties(Mapping):
    """The properties of a function, in the order of their names; one that is not there is an empty property."""

    type_name = "template.templateProperties"

    def value(self, key: str) -> Value:
        return self.get(key) or empty_property()


class NestedProperties(Mapping):
    """The properties of a property, in JSON in the order they came in."""

    type_name = "*api.ToolPropertiesMap"
    keeps_order = True


class InOrder(Mapping):
    """What `.Properties.All` gives: walked in the order the properties came in."""

    type_name = "iter.Seq2[string,api.ToolProperty]"
    keeps_order = True


def empty_property() -> Property:
    return Property(
        AnyOf=Sequence(), Type=TypeNames(), Items=None, Description="", Enum=Sequence(),
        Properties=NestedProperties(), Required=Sequence(),
    )  # fmt: skip


def type_name(value: Value) -> str:
    """The type as Go's messages name it."""
    if isinstance(value, (Record, Sequence, Mapping)):
        return value.type_name
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "bool"), (WholeNumber, "float64"), (Byte, "uint8"), (int, "int"), (float, "float64"),
        (complex, "complex128"), (str, "string"), (bytes, "api.ImageData"), (list, "[]interface {}"),
        (dict, "map[string]interface {}"),
    )  # fmt: skip
    return next((name for kind, name in kinds if isinstance(value, kind)), "<nil>")


class Byte(int):
    """A byte of a string."""


def is_true(value: Value) -> bool:
    """Go's truth: empty, zero and nil are false, every struct is true."""
    return isinstance(value, Record) or bool(value)


def to_typescript(value: Value) -> str:
    """The TypeScript type of a property; of anything else `any`."""
    if not isinstance(value, Property):
        return "any"
    if alternatives := value.fields["AnyOf"]:
        return " | ".join(to_typescript(one) for one in alternatives)
    words = {
        "string": "string", "number": "number", "integer": "number", "boolean": "boolean", "array": "any[]",
        "object": "Record<string, any>", "null": "null",
    }  # fmt: skip
    return " | ".join(words.get(name, "any") for name in value.fields["Type"]) or "any"
