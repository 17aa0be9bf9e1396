"""A model's config.json, read with care: it decides how much is allocated and how tensors are cut."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from server.errors import InvalidRequest

LARGEST_COUNT = (1 << 31) - 1


class Config:
    """`values` is the JSON object; what it says of its text part (`text_config`) counts as if said at the top."""

    def __init__(self, values: Mapping[str, Any], name: str = "config.json") -> None:
        text = values.get("text_config")
        self._values: dict[str, Any] = {**values, **text} if isinstance(text, dict) else dict(values)
        self._name = name
        self._top = values

    @property
    def architecture(self) -> str:
        """The first of `architectures`. Raises InvalidRequest."""
        names = self._top.get("architectures")
        if not isinstance(names, list) or not names or not isinstance(names[0], str):
            raise InvalidRequest("unknown architecture: config.json does not say what the model is")
        return names[0]

    def get(self, *keys: str) -> Any:
        """The value of the first key that has one."""
        return next((self._values[key] for key in keys if self._values.get(key) is not None), None)

    def with_defaults(self, values: Mapping[str, Any]) -> Config:
        """The same config; `values` count where it says nothing."""
        said = {key: value for key, value in self._values.items() if value is not None}
        return Config({**values, **said, "text_config": None}, self._name)

    def count(self, *keys: str, default: int | None = None, largest: int = LARGEST_COUNT) -> int:
        """A whole number above zero. Raises InvalidRequest."""
        value = self.get(*keys)
        if value is None and default is not None:
            return default
        if type(value) is not int or not 0 < value <= largest:
            raise self.wrong(keys[0], f"a whole number from 1 to {largest}")
        return value

    def number(self, *keys: str, default: float | None = None) -> float:
        """Raises InvalidRequest."""
        value = self.get(*keys)
        if value is None and default is not None:
            return default
        return self._finite(keys[0], value)

    def part(self, *keys: str) -> Config:
        """An object in it, empty where there is none. Raises InvalidRequest."""
        value = self.get(*keys)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(keys[0], "an object")
        return Config(value or {}, f"{keys[0]} in {self._name}")

    def numbers(self, key: str) -> list[float]:
        """A list of numbers, empty where there is none. Raises InvalidRequest."""
        value = self.get(key)
        if value is not None and not isinstance(value, list):
            raise self.wrong(key, "a list of numbers")
        return [self._finite(key, item) for item in value or []]

    def texts(self, key: str) -> list[str]:
        """A list of texts, empty where there is none. Raises InvalidRequest."""
        value = self.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise self.wrong(key, "a list of texts")
        return value or []

    def has(self, key: str) -> bool:
        return self.get(key) is not None

    def wrong(self, key: str, wanted: str) -> InvalidRequest:
        value = str(self.get(key))
        return InvalidRequest(f'"{key}" of {self._name} must be {wanted}, not {value[:80]}')

    def _finite(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(key, "a number")
        number = float(value)
        if not math.isfinite(number):
            raise self.wrong(key, "a finite number")
        return number
