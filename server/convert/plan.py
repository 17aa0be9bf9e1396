"""What a family says of a model: keys of the GGUF file, and where each tensor goes. Plain values, nothing done yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
KeyType = Literal["count", "number", "flag", "text", "numbers", "flags"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the GGUF file. A name that begins with a dot is of the architecture."""

    name: str
    type: KeyType
    value: Any


def count(name: str, value: int) -> Key:
    return Key(name, "count", value)


def number(name: str, value: float) -> Key:
    return Key(name, "number", value)


def flag(name: str, value: bool) -> Key:
    return Key(name, "flag", value)


def text(name: str, value: str) -> Key:
    return Key(name, "text", value)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a family's table: which tensor becomes which.

    `source` and `target`: names, `{}` stands for the number of the layer. `shape`: a name of a dimension each, the
    slowest first. `change`: what is done to the values once they have their final type; it needs the whole tensor.
    `is_optional`: the model may do without. `always_f32`: kept wide although it is a matrix.
    """

    source: str
    target: str
    shape: tuple[str, ...]
    change: Callable[[Array, Mapping[str, int]], Array] | None = None
    is_optional: bool = False
    always_f32: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """A family's answer to a config.

    `dimensions`: the names that rows use, with their sizes; "layers" is how often rows with `{}` are there. The rows
    of the vocabulary, "vocabulary", are measured on the first row's tensor. `constants`: tensors that are in no file.
    `notes`: sentences on what is left out.
    """

    architecture: str
    keys: tuple[Key, ...]
    dimensions: Mapping[str, int]
    rows: tuple[Row, ...]
    constants: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def add_one(values: Array, _: Mapping[str, int]) -> Array:
    """Norms that are stored as their distance from one."""
    return values + np.float32(1)


def interleaved(heads: str) -> Callable[[Array, Mapping[str, int]], Array]:
    """Rows of each head from two halves to pairs: the rotation of positions takes neighbours together. `heads` names
    the dimension that says how many heads there are."""

    def change(values: Array, dimensions: Mapping[str, int]) -> Array:
        count = dimensions[heads]
        halves = values.reshape(count, 2, values.shape[0] // count // 2, *values.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)

    return change
