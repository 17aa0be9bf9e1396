"""PARAMETER lines: from text to typed values, and back."""

from __future__ import annotations

import contextlib
import math
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from server.errors import InvalidModelfile
from server.store.encoding import number_text, shortest_float32
from server.store.modelfile import Modelfile

_WHOLE = (
    "num_keep", "seed", "num_predict", "top_k", "repeat_last_n", "num_ctx", "num_batch", "num_gpu", "main_gpu",
    "num_thread", "draft_num_predict",
)  # fmt: skip
_FLOATS = (
    "top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip
_BOOLS = ("use_mmap",)
_LISTS = ("stop",)
DEPRECATED = (
    "penalize_newline", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "mirostat", "mirostat_tau",
    "mirostat_eta",
)  # fmt: skip
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_VERSION = re.compile(r"v?(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)?)?")


def typed(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Repeated `stop` lines add up; of any other name the last counts. Deprecated names are left out. Raises
    InvalidModelfile."""
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name in DEPRECATED:
            continue
        if name in _LISTS:
            values.setdefault(name, []).append(text)
        else:
            values[name] = _scalar(name, text)
    return values


def of_file(file: Modelfile) -> dict[str, Any]:
    """Those of a Modelfile. Raises InvalidModelfile with the line."""
    for each in file.instructions:
        if each.keyword == "parameter":
            with _at(each.line):
                typed([(each.argument, each.value)])
    return typed(file.parameters)


@contextlib.contextmanager
def _at(line: int) -> Iterator[None]:
    try:
        yield
    except InvalidModelfile as error:
        error.line = line
        raise


def warnings(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A sentence for each deprecated name."""
    names = dict.fromkeys(name for name, _ in pairs if name in DEPRECATED)
    return [f"warning: parameter {name} is deprecated" for name in names]


def _scalar(name: str, text: str) -> Any:
    if name in _WHOLE:
        if _INTEGER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
            return int(text)
        raise InvalidModelfile(f"invalid int value [{text}]")
    if name in _FLOATS:
        return _float(text)
    if name in _BOOLS:
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        raise InvalidModelfile(f"invalid bool value [{text}]")
    raise InvalidModelfile(f"unknown parameter '{name}'")


def _float(text: str) -> float:
    """A 32-bit float, which is what the engine keeps."""
    if _FLOAT.fullmatch(text):
        try:
            return shortest_float32(struct.unpack("<f", struct.pack("<f", float(text)))[0])
        except OverflowError:
            pass
    raise InvalidModelfile(f"invalid float value [{text}]")


def check_requires(version: str, line: int = 0) -> None:
    """Raises InvalidModelfile."""
    if version and not _VERSION.fullmatch(version):
        with _at(line):
            raise InvalidModelfile("requires must be a valid semver (e.g. 0.14.0)")


def lines(params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and single values, sorted by name; a list gives a pair for each element."""
    pairs: list[tuple[str, Any]] = []
    for name in sorted(params):
        value = params[name]
        pairs += [(name, item) for item in value] if isinstance(value, (list, tuple)) else [(name, value)]
    return pairs


def plain_text(value: Any) -> str:
    """As a Modelfile has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, float) and math.isfinite(value) else str(value)


def shown_text(value: Any) -> str:
    """As `show` prints it: texts in double quotes with escapes, numbers short, with an exponent from a million on."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(map(_escaped, value)) + '"'
    if isinstance(value, (int, float)) and (isinstance(value, int) or math.isfinite(value)):
        return _general(value)
    return str(value)


def _general(value: float) -> str:
    digits, _, exponent = _scientific(float(value))
    if value and not -4 <= int(exponent) < 6:
        return f"{digits}e{exponent}"
    return number_text(float(value))


def _scientific(value: float) -> tuple[str, str, str]:
    """The fewest digits that read back as `value`, and an exponent of two digits at least."""
    for places in range(17):
        text = f"{value:.{places}e}"
        if float(text) == value:
            break
    return text.partition("e")


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
            "\v": "\\v"}  # fmt: skip


def _escaped(sign: str) -> str:
    if sign in _ESCAPES:
        return _ESCAPES[sign]
    if sign.isprintable():
        return sign
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
