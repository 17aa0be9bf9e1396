"""Smaller number formats for the weights of a model: llama.cpp rewrites the file in a child process.

The server never loads native model code: a file that llama.cpp cannot read ends the child alone. The child writes into
a temporary file of the blobs' folder; only a whole, checked file becomes a blob. What is said over its pipes is told in
server.engine.quantize.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from server.errors import DiskFull, InvalidGguf, InvalidRequest, PunaError, StoreError
from server.programs import ENGINE
from server.store.blobs import Blobs
from server.store.errand import Errand, errand
from server.store.files import store_errors
from server.store.foreign import ADVICE, is_foreign
from server.store.gguf import GgufHeader, read_header

SOURCES = ("F16", "BF16", "F32")
TICK_SECONDS = 0.25
_WRITE_FAILED = "iostream error"  # all that llama.cpp says when the system takes no more bytes
# Tensors that suffer from four bits, by architecture, and what they get instead. Source: Ollama's own table.
_EXCEPTIONS: dict[str, dict[str, str]] = {
    "qwen35": {r"nextn\.eh_proj": "q8_0"},
    "qwen35moe": {r"nextn\.eh_proj": "q8_0"},
    "gemma3n": {r"per_layer_token_embd": "f16"},
    "deepseek2": {r"attn_(k_b|q_a|q_b|v_b|kv_a_mqa)\.": "q8_0"},
    "glmocr": {r"^(token_embd|output)\.": "f16"},
    "glm4": {r"^(token_embd|output)\.": "f16"},
}
Tell = Callable[[int, int], None]

_log = logging.getLogger(__name__)


class Quantized(NamedTuple):
    digest: str
    header: GgufHeader
    is_new: bool


def check_source(header: GgufHeader, wanted: str, *, is_draft: bool = False) -> bool:
    """Whether there is anything to do. Raises InvalidRequest, with the reason, for what cannot be quantized."""
    present = header.file_type
    if present not in SOURCES:
        raise InvalidRequest(
            f"draft quantization requires an unquantized draft model, got {present}"
            if is_draft
            else "quantization is only supported for F16, BF16 and F32 models"
        )
    if is_foreign(header):
        raise InvalidRequest(f"this model cannot be quantized: {ADVICE}")
    return present != wanted


def quantize(blobs: Blobs, header: GgufHeader, wanted: str, tell: Tell) -> Quantized:
    """`tell` gets the bytes done and their total, as of the source, a few times a second; what it raises ends the work.
    Raises DiskFull, InvalidRequest, StoreError; nothing stays behind then."""
    with store_errors("quantize the model"), blobs.workplace() as target:
        with errand(_command(header, wanted, target), lambda line: _log.debug("quantizer: %s", line)) as work:
            announced = _announced_bytes(work)
            blobs.check_space(announced)
            work.say(b"go")
            while not _has_ended(work):
                written = target.stat().st_size
                blobs.check_space(max(announced - written, 0))
                tell(min(header.file_size, header.file_size * written // max(announced, 1)), header.file_size)
        tell(header.file_size, header.file_size)
        made = _checked(target, wanted)
        digest, is_new = blobs.adopt(target)
        made.path = blobs.path(digest)
    return Quantized(digest, made, is_new)


def _checked(target: Path, wanted: str) -> GgufHeader:
    try:
        made = read_header(target)
    except InvalidGguf as error:
        raise StoreError("llama.cpp wrote a file that is not sound, so it was not kept", log=str(error)) from error
    if made.file_type != wanted:
        raise StoreError(f"llama.cpp wrote {made.file_type} instead of {wanted}, so the file was not kept")
    return made


def _announced_bytes(work: Errand) -> int:
    """How large the tensors will be together."""
    try:
        return int(json.loads(work.answer())["bytes"])
    except (ValueError, KeyError, TypeError):
        raise _failure(work) from None


def _has_ended(work: Errand) -> bool:
    """After a tick at most. Raises what it failed with."""
    status = work.wait(TICK_SECONDS)
    if status:
        raise _failure(work)
    return status == 0


def _failure(work: Errand) -> PunaError:
    status, lines = work.last_lines()
    log = "\n".join(lines)
    if any(_WRITE_FAILED in line for line in lines):
        return DiskFull(log=log)
    sentence = next((line for line in reversed(lines) if line.startswith("The model could not be quantized")), "")
    return StoreError(sentence or f"llama.cpp ended while it quantized the model (exit status {status})", log=log)


def _command(header: GgufHeader, wanted: str, target: Path) -> list[str]:
    options = [word for pair in _exceptions(header, wanted).items() for word in ("--tensor", *pair)]
    return ENGINE.command(*options, "quantize", str(header.path.absolute()), str(target.absolute()), wanted)


def _exceptions(header: GgufHeader, wanted: str) -> Mapping[str, str]:
    return _EXCEPTIONS.get(header.architecture, {}) if wanted.startswith("Q4_K") else {}
