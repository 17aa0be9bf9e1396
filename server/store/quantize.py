"""Smaller number formats for the weights of a model: llama.cpp rewrites the file in a child process.

The server never loads native model code: a file that llama.cpp cannot read ends the child alone. The child writes into
a temporary file of the blobs' folder; only a whole, checked file becomes a blob.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from server.errors import DiskFull, InvalidGguf, InvalidRequest, PunaError, StoreError
from server.messages.frames import ENGINE_WORD
from server.store.blobs import Blobs
from server.store.files import store_errors
from server.store.foreign import ADVICE, is_foreign
from server.store.gguf import GgufHeader, read_header

SOURCES = ("F16", "BF16", "F32")
TICK_SECONDS = 0.25
ERROR_LINES = 20
_WRITE_FAILED = "iostream error"  # all that llama.cpp says when the system takes no more bytes
PACKAGE_ROOT = Path(__file__).parents[2]  # where `-m server.engine` is found, whatever folder the user is in
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
        with _child(header, wanted, target) as child:
            announced = child.announced_bytes()
            blobs.check_space(announced)
            child.go()
            while not child.has_ended(TICK_SECONDS):
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


class _Child:
    """The engine's errand; see server.engine.quantize for what is said over its pipes."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    def announced_bytes(self) -> int:
        """How large the tensors will be together."""
        assert self._process.stdout is not None
        try:
            return int(json.loads(self._process.stdout.readline())["bytes"])
        except (ValueError, KeyError, TypeError):
            self._process.wait()
            raise self._failure() from None

    def go(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"go\n")

    def has_ended(self, seconds: float) -> bool:
        """Waits at most so long. Raises what the child failed with."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        if code:
            raise self._failure()
        return True

    def _failure(self) -> PunaError:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()[-ERROR_LINES:]
        log = "\n".join(lines)
        if any(_WRITE_FAILED in line for line in lines):
            return DiskFull(log=log)
        sentence = next((line for line in reversed(lines) if line.startswith("The model could not be quantized")), "")
        code = self._process.returncode
        return StoreError(sentence or f"llama.cpp ended while it quantized the model (exit status {code})", log=log)


@contextlib.contextmanager
def _child(header: GgufHeader, wanted: str, target: Path) -> Iterator[_Child]:
    """It has ended when the context has."""
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            _command(header, wanted, target),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            cwd=None if getattr(sys, "frozen", False) else PACKAGE_ROOT,
            creationflags=flags,
        )
        with process:
            try:
                yield _Child(process, errors)
            finally:
                process.kill()


def _command(header: GgufHeader, wanted: str, target: Path) -> list[str]:
    engine = [ENGINE_WORD] if getattr(sys, "frozen", False) else ["-m", "server.engine"]
    options = [word for pair in _exceptions(header, wanted).items() for word in ("--tensor", *pair)]
    return [sys.executable, *engine, *options, "quantize", str(header.path.absolute()), str(target.absolute()), wanted]


def _exceptions(header: GgufHeader, wanted: str) -> Mapping[str, str]:
    return _EXCEPTIONS.get(header.architecture, {}) if wanted.startswith("Q4_K") else {}
