"""What a prompt is made of once its images and sounds have been measured. Plain values; no llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from server.engine.vocabulary import Tokens
from server.errors import PunaError

Rows = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int32]
FIRST_CODE = -2  # -1 is llama.cpp's word for no token


class PreparedChunk(Protocol):
    """What the projector makes of a part of a file before it is encoded; the fields are as in Piece."""

    tokens: int
    positions: int
    offsets: Offsets
    moves: Offsets
    is_causal: bool

    def encode(self) -> Rows | None: ...

    def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class Piece:
    """A part of an image or a sound that is embedded, and evaluated, as one: `tokens` rows of the KV.

    `code` stands for each of its rows where prompts are compared; the same part of the same file has the same one.
    `positions` is how far the text behind it is moved. Row i stands at offsets[:, i] + moves[:, i] * p, where p is the
    position of the first; both are [4, tokens] where rotary embeddings have four sections, else [1, tokens].
    `is_causal`: its rows see only those before them. `chunk` is what the projector made ready to be encoded; `rows` are
    the embeddings, [tokens, width], None until then; `error` says why they will not come.
    """

    code: int
    tokens: int
    positions: int
    offsets: Offsets
    moves: Offsets
    is_causal: bool = True
    chunk: PreparedChunk | None = None
    rows: Rows | None = None
    error: PunaError | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the encoder has nothing more to say."""
        return self.rows is not None or self.error is not None

    def places(self, first: int, start: int, end: int) -> Offsets:
        """The positions of the rows [start, end), section by section, where the first row of all is at `first`."""
        return self.offsets[:, start:end] + self.moves[:, start:end] * np.int32(first)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a piece stands: the rows [start, start + tokens), which take `positions`."""

    start: int
    tokens: int
    positions: int

    @property
    def end(self) -> int:
        return self.start + self.tokens


@dataclass(frozen=True, slots=True)
class Placed:
    span: Span
    piece: Piece


@dataclass(frozen=True, slots=True)
class Layout:
    """A prompt as the KV will hold it: token ids, and codes where images and sounds stand."""

    tokens: Tokens
    media: tuple[Placed, ...] = ()

    def text(self) -> Tokens:
        """The tokens alone."""
        return self.tokens[self.tokens >= 0] if self.media else self.tokens


@dataclass(slots=True)
class Builder:
    """Puts a layout together from left to right."""

    _runs: list[Tokens] = field(default_factory=list)
    _media: list[Placed] = field(default_factory=list)
    _length: int = 0

    def add_text(self, tokens: Tokens) -> None:
        self._runs.append(tokens)
        self._length += len(tokens)

    def add_piece(self, piece: Piece) -> None:
        self._media.append(Placed(Span(self._length, piece.tokens, piece.positions), piece))
        self.add_text(np.full(piece.tokens, piece.code, np.int32))

    def layout(self) -> Layout:
        tokens = np.concatenate(self._runs) if self._runs else np.empty(0, np.int32)
        return Layout(tokens, tuple(self._media))
