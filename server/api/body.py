"""Request bodies by table: a Struct says which field is of which Go type, `decode` reads it as a Go server would.

    class CopyRequest(Body):
        source: Text = ""

The class's name is the struct's in the sentences of type errors. Names match without case, unknown ones are ignored,
the last of equal ones wins, null is as if absent. Of several type errors the first in the document is reported; the
readers of api/values raise theirs at once, as the reference's own decoders do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, get_type_hints

import msgspec

from server.api.gojson import Fraction, Members, kind, parse, plain
from server.errors import InvalidRequest

_INT64 = range(-(2**63), 2**63)


class Place:
    """Where a value stands: names for the sentence of a type error. All places of one body share `problems`."""

    __slots__ = ("path", "problems", "struct")

    def __init__(self, struct: str, path: str = "", problems: list[str] | None = None) -> None:
        self.struct = struct
        self.path = path
        self.problems: list[str] = [] if problems is None else problems

    def member(self, name: str, struct: str = "") -> Place:
        return Place(struct or self.struct, f"{self.path}.{name}" if self.path else name, self.problems)

    def wrong(self, found: str, go_type: str) -> None:
        """Note a type error; only the first one is told."""
        field = f"struct field {self.struct}.{self.path}" if self.path else "value"
        self.problems.append(f"json: cannot unmarshal {found} into Go {field} of type {go_type}")


Reader = Callable[[Any, Place], Any]
Fields = Mapping[str, Reader]
ReaderType = TypeVar("ReaderType", bound=Reader)
Schema = dict[str, Any]


class Kind(msgspec.Struct, frozen=True):
    """The annotation that gives a field its reader. A reader returns None for what it noted as wrong."""

    read: Reader


_schemas: dict[Reader, Schema] = {}


def described(schema: Schema) -> Callable[[ReaderType], ReaderType]:
    """Give a reader the JSON Schema of what it reads."""

    def describe(read: ReaderType) -> ReaderType:
        _schemas[read] = schema
        return read

    return describe


def object_schema(fields: Fields) -> Schema:
    return {"type": "object", "properties": {name: _schemas.get(read, {}) for name, read in fields.items()}}


@described({"type": "string"})
def read_text(value: Any, place: Place) -> str | None:
    if isinstance(value, str):
        return value
    place.wrong(kind(value), "string")
    return None


@described({"type": "boolean"})
def read_flag(value: Any, place: Place) -> bool | None:
    if isinstance(value, bool):
        return value
    place.wrong(kind(value), "bool")
    return None


@described({"type": "integer"})
def read_integer(value: Any, place: Place) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    is_number = kind(value) == "number"
    place.wrong(f"number {value.text if isinstance(value, Fraction) else value}" if is_number else kind(value), "int")
    return None


@described({"type": "object"})
def read_mapping(value: Any, place: Place) -> dict[str, Any] | None:
    """A free-form object."""
    if not isinstance(value, Members):
        place.wrong(kind(value), "map[string]interface {}")
        return None
    return {name: plain(item) for name, item in value}


@described({"type": "object", "additionalProperties": {"type": "string"}})
def read_texts_by_name(value: Any, place: Place) -> dict[str, str] | None:
    if not isinstance(value, Members):
        place.wrong(kind(value), "map[string]string")
        return None
    return {name: (read_text(item, place) or "") if item is not None else "" for name, item in value}


def read_any(value: Any, _: Place) -> Any:
    return plain(value)


def list_of(read: Reader, go_type: str) -> Reader:
    """A list whose items `read` reads; a null item is whatever `read` makes of nothing, or left out."""

    @described({"type": "array", "items": _schemas.get(read, {})})
    def read_list(value: Any, place: Place) -> list[Any] | None:
        if not isinstance(value, list) or isinstance(value, Members):
            place.wrong(kind(value), go_type)
            return None
        return [item for item in (read(item, place) for item in value if item is not None) if item is not None]

    return read_list


def read_fields(value: Any, fields: Fields, place: Place, go_type: str) -> dict[str, Any] | None:
    """An object's known members by their declared names; those of null or of a wrong type are left out."""
    if not isinstance(value, Members):
        place.wrong(kind(value), go_type)
        return None
    found: dict[str, Any] = {}
    for name, item in value:
        known = name if name in fields else name.lower()
        if item is None or known not in fields:
            continue
        read = fields[known](item, place.member(known))
        if read is not None:
            found[known] = read
    return found


Text = Annotated[str, Kind(read_text)]
Flag = Annotated[bool, Kind(read_flag)]
MaybeFlag = Annotated[bool | None, Kind(read_flag)]
Integer = Annotated[int, Kind(read_integer)]
Integers = Annotated[tuple[int, ...], Kind(list_of(read_integer, "[]int"))]
Mapped = Annotated[dict[str, Any], Kind(read_mapping)]
TextsByName = Annotated[dict[str, str], Kind(read_texts_by_name)]
Anything = Annotated[Any, Kind(read_any)]


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all request bodies."""


BodyType = TypeVar("BodyType", bound=Body)


@cache
def _table(body_type: type[Body]) -> tuple[dict[str, Reader], dict[str, str]]:
    """Readers by wire name, and attributes by wire name."""
    hints = get_type_hints(body_type, include_extras=True)
    readers: dict[str, Reader] = {}
    attributes: dict[str, str] = {}
    for field in msgspec.structs.fields(body_type):
        readers[field.encode_name] = hints[field.name].__metadata__[0].read
        attributes[field.encode_name] = field.name
    return readers, attributes


@cache
def schema_of(body_type: type[Body]) -> Schema:
    """The JSON Schema of a body, with the defaults of its fields."""
    readers, attributes = _table(body_type)
    schema = object_schema(readers)
    defaults = {field.name: field.default for field in msgspec.structs.fields(body_type)}
    for name, attribute in attributes.items():
        default = defaults[attribute]
        if isinstance(default, (bool, int)):
            schema["properties"][name] = {**schema["properties"][name], "default": default}
    return schema


def decode(body: bytes, body_type: type[BodyType]) -> BodyType:
    """Raises InvalidRequest with the sentence of Go's decoder."""
    value = parse(body)
    readers, attributes = _table(body_type)
    place = Place(body_type.__name__)
    found: dict[str, Any] | None = {}
    if value is not None:
        found = read_fields(value, readers, place, f"api.{body_type.__name__}")
    if place.problems:
        raise InvalidRequest(place.problems[0])
    return body_type(**{attributes[name]: item for name, item in (found or {}).items()})
