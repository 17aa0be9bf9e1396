"""LoRA adapters as PEFT saves them: for each weight that they change two thin matrices, named after it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from server.convert.config import Config
from server.convert.families import ROWS_BY_ARCHITECTURE
from server.convert.folder import Folder
from server.convert.gguf_file import GgufFile, HashedFile
from server.convert.numbers import converted
from server.convert.plan import Array, Key, Row, number, text
from server.convert.safetensors import Tensor
from server.convert.weights import MATRIX, Weight, bare_name
from server.errors import InvalidRequest
from server.messages.conversion import AdapterBase, Converted, ConvertOrder

SETTINGS = "adapter_config.json"
_PREFIX = "base_model.model."
_NAME = re.compile(r"(.+)\.lora_([AB])(?:\.default)?\.weight")
_LAYER = re.compile(r"(?<=\.)\d+(?=\.)")
_HALVES = {"A": "lora_a", "B": "lora_b"}


def convert_adapter(order: ConvertOrder, base: AdapterBase, report: Callable[[int, int], None]) -> Converted:
    """Everything is looked at before the first byte is written. Raises InvalidRequest, OSError."""
    folder = Folder(order.files)
    keys = _keys(Config(folder.json(SETTINGS), SETTINGS))
    rows = ROWS_BY_ARCHITECTURE.get(base.architecture)
    if rows is None:
        raise InvalidRequest(
            f'unsupported architecture "{base.architecture}": adapters of safetensors can be converted for '
            f"{', '.join(sorted(ROWS_BY_ARCHITECTURE))}"
        )
    patterns = {row.source: row for row in rows}
    weights = [_weight(name, tensor, patterns, base) for name, tensor in folder.tensors().items()]
    file = GgufFile(base.architecture, "adapter", "adapter")
    file.add_keys(keys)
    with HashedFile(Path(order.output_path)) as output:
        file.write(weights, output, report)
        output.sync()
        return Converted(digest=output.digest, size=output.size)


def _keys(settings: Config) -> list[Key]:
    """llama.cpp multiplies with alpha over the rank, which it takes from the tensors."""
    if settings.get("peft_type") not in (None, "LORA"):
        raise settings.wrong("peft_type", "LORA")
    for key in ("use_dora", "fan_in_fan_out", "alpha_pattern", "lora_bias"):
        if settings.get(key):
            raise InvalidRequest(f'this adapter uses "{key}", which cannot be converted')
    alpha = settings.number("lora_alpha")
    if settings.get("use_rslora"):
        if settings.get("rank_pattern"):
            raise InvalidRequest('this adapter uses "use_rslora" with "rank_pattern", which cannot be converted')
        alpha *= math.sqrt(settings.count("r"))
    return [text("adapter.type", "lora"), number("adapter.lora.alpha", alpha)]


def _weight(name: str, tensor: Tensor, patterns: Mapping[str, Row], base: AdapterBase) -> Weight:
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidRequest(f"the adapter holds {name[:100]}, which is no part of a LoRA adapter as PEFT saves it")
    source, half = f"{bare_name(match[1].removeprefix(_PREFIX))}.weight", match[2]
    layer = _LAYER.search(source)
    row = patterns.get(_LAYER.sub("{}", source, count=1))
    if row is None or len(row.shape) != MATRIX or row.source.startswith("embed"):
        raise InvalidRequest(f"the adapter changes {source[:100]}, which cannot be converted for {base.architecture}")
    heads = {"heads": base.heads, "key_heads": base.key_heads}
    wanted = 2 * heads["key_heads" if ".k_proj." in source else "heads"]
    if len(tensor.shape) != MATRIX or (row.change is not None and half == "B" and tensor.shape[0] % wanted):
        raise InvalidRequest(f"the shape of {name[:100]} does not fit the base, {list(tensor.shape)}")

    def values() -> Iterator[Array]:
        whole = converted(tensor.read(), tensor.type, "F32")
        # What is done to the rows of a weight is done to the matrix that makes its rows.
        yield row.change(whole, heads) if row.change is not None and half == "B" else whole

    target = row.target.format(layer[0] if layer else 0)
    return Weight(f"{target}.{_HALVES[half]}", "F32", tensor.shape, values)
