"""`tokenizer.model`: sentencepiece's own file, a protocol buffer of which a few fields matter here.

ModelProto: 1 pieces (1 text, 2 score, 3 type), 2 trainer (3 model type), 3 normalizer (3 dummy prefix).
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from server.convert.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Token
from server.errors import InvalidRequest

BPE = 2
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_TYPES = {1: NORMAL, 2: UNKNOWN, 3: CONTROL, 4: USER_DEFINED, 5: UNUSED, 6: BYTE}


@dataclass(frozen=True, slots=True)
class SentencePieces:
    """`is_bpe`: the pieces are merged by score; the other kind (unigram) is not for llama.cpp's "llama" tokenizer."""

    tokens: tuple[Token, ...]
    is_bpe: bool
    add_space_prefix: bool


def is_sentencepiece(data: bytes) -> bool:
    """Llama 3 comes with a file of the same name that is a list in plain text."""
    return data[:1] == b"\n"


def read_pieces(data: bytes) -> SentencePieces:
    """Raises InvalidRequest."""
    tokens: list[Token] = []
    kind, prefix = 1, True
    try:
        for field, value in _fields(data):
            if field == 1 and isinstance(value, bytes):
                tokens.append(_piece(value))
            elif field == 2 and isinstance(value, bytes):
                kind = next((item for key, item in _fields(value) if key == 3 and isinstance(item, int)), 1)
            elif field == 3 and isinstance(value, bytes):
                prefix = bool(next((item for key, item in _fields(value) if key == 3), 1))
    except (ValueError, struct.error, IndexError) as error:
        raise InvalidRequest("tokenizer.model is damaged; download it again", log=str(error)) from error
    return SentencePieces(tuple(tokens), kind == BPE, prefix)


def _piece(data: bytes) -> Token:
    text, score, kind = "", 0.0, NORMAL
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            text = value.decode()
        elif field == 2 and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
        elif field == 3 and isinstance(value, int):
            kind = _TYPES.get(value, NORMAL)
    # What users defined is found in a text as it is written, so the sign for a space becomes one.
    return Token(text.replace("\u2581", " ") if kind == USER_DEFINED else text, kind, score)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: an integer for varints, bytes for everything else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield field, value
            continue
        if kind == _LENGTH:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if at + size > len(data):
            raise ValueError("a field reaches beyond the end")
        yield field, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")
