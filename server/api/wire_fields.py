"""The members of a JSON object in a request of the OpenAI and Anthropic dialects.

Names match exactly, unknown members are ignored, null is as if absent, and a whole number may be written as `10.0`.
What is wrong is told with the place where it stands, in words and as the `param` of OpenAI's error object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from server.errors import InvalidRequest

_KINDS = {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}


class RefusedField(InvalidRequest):
    """A member of the request cannot be used."""

    def __init__(
        self,
        message: str = "",
        *,
        param: str = "",
        code: str = "invalid_value",
        log: str = "",
        status: int | None = None,
    ) -> None:
        super().__init__(message, log=log, status=status)
        self.param = param
        self.code = code


def kind_of(value: Any) -> str:
    return _KINDS.get(type(value), "null")


class Fields:
    """One object. `where` is its place in the body, "" for the body itself."""

    __slots__ = ("_members", "where")

    def __init__(self, members: Mapping[str, Any], where: str = "") -> None:
        self._members = members
        self.where = where

    @classmethod
    def of(cls, value: Any, where: str = "") -> Fields:
        if not isinstance(value, dict):
            place = f"'{where}'" if where else "The request body"
            raise RefusedField(f"{place} must be an object, not {kind_of(value)}.", param=where)
        return cls(value, where)

    def __contains__(self, name: str) -> bool:
        """Whether the member is there and not null."""
        return self._members.get(name) is not None

    @property
    def members(self) -> dict[str, Any]:
        return dict(self._members)

    def place(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def get(self, name: str) -> Any:
        return self._members.get(name)

    def _wrong(self, name: str, wanted: str, code: str = "invalid_type") -> RefusedField:
        place = self.place(name)
        found = kind_of(self._members.get(name))
        return RefusedField(f"'{place}' must be {wanted}, not {found}.", param=place, code=code)

    def text(self, name: str) -> str | None:
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def flag(self, name: str) -> bool | None:
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def integer(self, name: str) -> int | None:
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, "a whole number")
        return value

    def number(self, name: str) -> float | None:
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(name, "a number")
        return value

    def mapping(self, name: str) -> dict[str, Any] | None:
        value = self.get(name)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return value

    def fields(self, name: str) -> Fields | None:
        value = self.mapping(name)
        return None if value is None else Fields(value, self.place(name))

    def items(self, name: str) -> list[Any]:
        """The elements of a list, none where it is absent."""
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return value

    def objects(self, name: str) -> list[Fields]:
        return [Fields.of(item, f"{self.place(name)}[{at}]") for at, item in enumerate(self.items(name))]

    def texts(self, name: str, *, or_text: bool = False) -> list[str]:
        """A list of strings, or with `or_text` also a single one. Empty strings are left out."""
        value = self.get(name)
        if or_text and isinstance(value, str):
            value = [value]
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise self._wrong(name, "a string or a list of strings" if or_text else "a list of strings")
        return [item for item in value or () if item]

    def refuse(self, name: str, why: str, code: str = "invalid_value") -> RefusedField:
        """The error for a member whose value cannot be used; `why` is the sentence."""
        return RefusedField(why, param=self.place(name), code=code)

    def refuse_any_of(self, names: Iterable[str], why: str) -> None:
        """Raises for the first of `names` that has a value; `{name}` in the sentence is that name."""
        for name in names:
            if name in self:
                raise self.refuse(name, why.format(name=name), "unsupported_parameter")
