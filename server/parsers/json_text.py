"""JSON in a model's answer: found while it is written, read strictly, with exact numbers."""

from __future__ import annotations

import json
import math
import re
from typing import Any

NO_NAME = "empty function name"
_INTERESTING = re.compile(r'["\\{}]')
_IN_STRING = re.compile(r'["\\]')


class ObjectScanner:
    """Finds balanced `{…}` outside strings. Each character is looked at once, however the text comes in pieces."""

    def __init__(self, at: int = 0) -> None:
        self.start = -1  # of the object that is open or complete; -1 before one
        self._at = at
        self._depth = 0
        self._in_string = False

    @property
    def is_open(self) -> bool:
        return self._depth > 0

    def scan(self, text: str) -> int:
        """The end of the next complete object in `text`, which only ever grows; -1 while there is none."""
        while True:
            if self._depth == 0:
                opening = text.find("{", self._at)
                if opening < 0:
                    self._at = len(text)
                    return -1
                self.start, self._at, self._depth = opening, opening + 1, 1
            match = (_IN_STRING if self._in_string else _INTERESTING).search(text, self._at)
            if match is None:
                self._at = len(text)
                return -1
            if match[0] == "\\":
                if match.end() >= len(text):  # what it escapes has not come yet
                    self._at = match.start()
                    return -1
                self._at = match.end() + 1
                continue
            self._at = match.end()
            if match[0] == '"':
                self._in_string = not self._in_string
            else:
                self._depth += 1 if match[0] == "{" else -1
                if self._depth == 0:
                    return self._at


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large")
    return value


def finite_or_text(text: str) -> float | str:
    """A number with a fraction; its text where it is too large."""
    value = float(text)
    return text if math.isinf(value) else value


def read(text: str) -> Any:
    """The value of a JSON text, integers exact. Raises ValueError."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("the JSON is nested too deep") from None


def read_object(value: Any) -> dict[str, Any] | None:
    """An object, or the object that a string holds as JSON; None for anything else."""
    if isinstance(value, str):
        try:
            value = read(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def read_call(text: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments of `{"name": …, "arguments": {…}}`. Raises ValueError; its words say why."""
    try:
        value = read(text)
    except ValueError as error:
        raise ValueError(f"failed to parse JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("failed to parse JSON: a call is an object")
    name, arguments = value.get("name", ""), value.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, (dict, type(None))):
        raise ValueError("failed to parse JSON: a call has a name and an object of arguments")
    if not name:
        raise ValueError(NO_NAME)
    return name, arguments or {}
