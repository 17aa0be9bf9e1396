"""Which tensor of the GGUF file is made of which in the folder: the family's rows held against what is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from server.convert.config import Config
from server.convert.numbers import ITEM_BYTES, TensorType, converted
from server.convert.plan import Array, Outline, Row
from server.convert.safetensors import Tensor
from server.errors import InvalidRequest
from server.messages.conversion import OutputType

# Parts of a name that depend on what a model was saved as, not on what it is.
_PREFIXES = ("language_model.model.", "model.language_model.", "language_model.", "model.", "bert.", "nomic_bert.")
_OLD_ENDS = {".gamma": ".weight", ".beta": ".bias"}
# Heads for training, encoders of pictures, and tables that are computed anew.
_NOT_NEEDED = ("pooler.", "cls.", "vision_tower.", "vision_model.", "multi_modal_projector.")
_NOT_NEEDED_ENDS = (".inv_freq", "position_ids", "token_type_ids", ".masked_bias", "lm_head.weight")
MATRIX = 2


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor to write. `values` gives them some rows at a time."""

    name: str
    type: TensorType
    shape: tuple[int, ...]
    values: Callable[[], Iterator[Array]]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.type]


def find_weights(
    outline: Outline, config: Config, tensors: Mapping[str, Tensor], output_type: OutputType
) -> tuple[list[Weight], int]:
    """All weights in the order of the rows, and how many tokens the vocabulary has. Raises InvalidRequest where one is
    missing, has another shape than the config says, or is not known to the family."""
    waiting = _renamed(tensors)
    sizes = {**outline.dimensions, "vocabulary": _vocabulary_size(outline, waiting)}
    weights = [_constant(name, values) for name, values in outline.constants.items()]
    for row in outline.rows:
        for layer in range(sizes["layers"]) if "{}" in row.source else (0,):
            tensor = waiting.pop(row.source.format(layer), None)
            if tensor is not None:
                _check_shape(row, tensor, sizes)
                weights.append(_weight(row, row.target.format(layer), tensor, sizes, output_type))
            elif not row.is_optional or (row.target == "output.weight" and config.get("tie_word_embeddings") is False):
                raise InvalidRequest(f"the tensor {row.source.format(layer)} is missing; download the model again")
    left = sorted(name for name in waiting if not name.startswith(_NOT_NEEDED) and not name.endswith(_NOT_NEEDED_ENDS))
    if left:
        raise InvalidRequest(
            f"this model has {len(left)} tensors that its family does not know, such as {left[0][:100]}; "
            "use a GGUF build of the model"
        )
    return weights, sizes["vocabulary"]


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short = bare_name(name)
        for old, new in _OLD_ENDS.items():
            short = short.removesuffix(old) + new if short.endswith(old) else short
        if short in renamed:
            raise InvalidRequest(f"the tensor {short[:100]} is in the model twice, under two names")
        renamed[short] = tensor
    return renamed


def bare_name(name: str) -> str:
    """A tensor's name within its model."""
    return name.removeprefix(next((prefix for prefix in _PREFIXES if name.startswith(prefix)), ""))


def _vocabulary_size(outline: Outline, tensors: Mapping[str, Tensor]) -> int:
    """The rows of the embeddings, which come first."""
    first = outline.rows[0]
    tensor = tensors.get(first.source)
    if tensor is None or len(tensor.shape) != MATRIX or not tensor.shape[0]:
        raise InvalidRequest(f"the tensor {first.source} is missing or empty; download the model again")
    return tensor.shape[0]


def _check_shape(row: Row, tensor: Tensor, sizes: Mapping[str, int]) -> None:
    wanted = tuple(sizes[dimension] for dimension in row.shape)
    if tensor.shape != wanted:
        raise InvalidRequest(
            f"the tensor {tensor.name} has the shape {list(tensor.shape)}, and config.json asks for {list(wanted)}"
        )
    if not tensor.is_floating:
        next(tensor.chunks(0), None)
        raise InvalidRequest(f"the tensor {tensor.name} is of type {tensor.type}, which no weight can be")


def _weight(row: Row, name: str, tensor: Tensor, sizes: Mapping[str, int], output_type: OutputType) -> Weight:
    kind: TensorType = "F32"
    if len(tensor.shape) >= MATRIX and not row.always_f32:
        kind = output_type or ("BF16" if tensor.type == "BF16" else "F16")

    def values() -> Iterator[Array]:
        if row.change is None:
            for chunk in tensor.chunks():
                yield converted(chunk, tensor.type, kind)
        else:
            yield row.change(converted(tensor.read(), tensor.type, kind), sizes)

    return Weight(name, kind, tensor.shape, values)


def _constant(name: str, values: Array) -> Weight:
    return Weight(name, "F32", values.shape, lambda: iter((values,)))
