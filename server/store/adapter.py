"""LoRA adapters in GGUF form: does one belong to a base?

An adapter holds, for each weight that it changes, two thin matrices named after it. llama.cpp refuses one whose names
or sizes do not fit the base, but only when the model is loaded; here that is known before anything is stored.

Source of the format: llama.cpp's convert_lora_to_gguf.py and what its loader accepts.
"""

from __future__ import annotations

from collections.abc import Mapping

from server.errors import InvalidRequest
from server.store.gguf import GgufHeader
from server.store.gguf_tensors import Tensor

_PAIR = (".lora_a", ".lora_b")
_NORM = "_norm.weight"  # passed over by llama.cpp
_EMBEDDING = "token_embd.weight"  # its two matrices lie the other way round


def check_adapter(path: str, adapter: GgufHeader, base: GgufHeader) -> None:
    """`path` names the adapter in the sentence. Raises InvalidRequest with what does not fit."""
    kind = adapter.metadata.get("adapter.type")
    if kind != "lora":
        raise InvalidRequest(f'"{path}" is an adapter of the kind {kind or "unknown"}; only LoRA adapters can be used')
    if adapter.architecture != base.architecture:
        raise InvalidRequest(
            f'"{path}" is an adapter for models of the architecture {adapter.architecture or "unknown"}, and the base '
            f"is {base.architecture}; use the base that it was trained on"
        )
    weights = {tensor.name: tensor for tensor in base.tensors}
    pairs = _pairs(path, adapter)
    if not pairs:
        raise InvalidRequest(f'"{path}" changes nothing: there are no LoRA tensors in it')
    for name, (down, up) in pairs.items():
        if name not in weights:
            raise InvalidRequest(f'"{path}" was made for another base: this one has no tensor {name}')
        if not _fits(weights[name], down, up):
            raise InvalidRequest(f'"{path}" was made for another base: the sizes of {name} differ')


def _pairs(path: str, adapter: GgufHeader) -> Mapping[str, tuple[Tensor, Tensor]]:
    """The two matrices of each weight by its name."""
    halves: dict[str, dict[str, Tensor]] = {}
    for tensor in adapter.tensors:
        name, suffix = tensor.name[: -len(_PAIR[0])], tensor.name[-len(_PAIR[0]) :]
        if suffix in _PAIR:
            halves.setdefault(name, {})[suffix] = tensor
        elif not tensor.name.endswith(_NORM):
            raise InvalidRequest(f'"{path}" holds {tensor.name}, which is no part of a LoRA adapter')
    for name, found in halves.items():
        if len(found) != len(_PAIR):
            raise InvalidRequest(f'"{path}" holds only one of the two matrices for {name}')
    return {name: (found[_PAIR[0]], found[_PAIR[1]]) for name, found in halves.items()}


def _fits(weight: Tensor, down: Tensor, up: Tensor) -> bool:
    columns, rows = _sizes(weight)
    if weight.name.endswith(_EMBEDDING):
        return columns == _sizes(up)[1] and rows == _sizes(down)[1]
    return columns == _sizes(down)[0] and rows == _sizes(up)[1] and _sizes(down)[1] == _sizes(up)[0]


def _sizes(tensor: Tensor) -> tuple[int, int]:
    return (*tensor.shape, 1, 1)[:2]  # type: ignore[return-value]
