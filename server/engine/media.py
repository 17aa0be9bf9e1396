"""Images and sounds beside the loop: a thread of its own measures them and encodes them, so that nobody else's answer
waits for a picture.

A file is prepared once and kept, with its embeddings when they have been made, as long as there is room: the next turn
of a conversation brings it again. What the KV still holds of it is not even encoded again.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from server.engine.grammar import step_back
from server.engine.layout import FIRST_CODE, Builder, Layout, Piece, PreparedChunk
from server.engine.pictures import Pixels, is_sound, read_image
from server.engine.vocabulary import Tokens, Vocabulary
from server.errors import RunnerError, Unsupported
from server.messages.frames import Media

KEPT_BYTES = 256 * 1024 * 1024
CHUNK_BYTES_PER_TOKEN = 40_000  # about what the pixels of one row take before they are encoded
CANNOT_ENCODE = "An image or a sound could not be encoded; the log has the details."
CANNOT_SEE = "image input is not supported: this model reads no images. Choose one whose capabilities list vision."
CANNOT_HEAR = "audio input is not supported: this model hears no sounds. Choose one whose capabilities list audio."


class Encoder(Protocol):
    """What is asked of the projector."""

    can_see: bool
    can_hear: bool
    width: int

    def image(self, pixels: Pixels) -> Sequence[Tokens | PreparedChunk]: ...

    def sound(self, data: bytes) -> Sequence[Tokens | PreparedChunk]: ...


class _Item:
    """A file of a client: text tokens and pieces in their order. `width` is the length of an embedding."""

    def __init__(self, parts: Sequence[Tokens | Piece], width: int) -> None:
        self.parts = parts
        self._width = width

    @property
    def pieces(self) -> list[Piece]:
        return [part for part in self.parts if isinstance(part, Piece)]

    @property
    def bytes(self) -> int:
        return sum(
            piece.tokens * (self._width * 4 if piece.is_settled else CHUNK_BYTES_PER_TOKEN) for piece in self.pieces
        )


class MediaDesk:
    """`wake` is called from the thread of this desk whenever the loop may find a piece settled."""

    def __init__(
        self, encoder: Encoder, vocabulary: Vocabulary, wake: Callable[[], None], kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._encoder = encoder
        self._vocabulary = vocabulary
        self._wake = wake
        self._kept_bytes = kept_bytes
        self._codes: dict[tuple[bytes, int], int] = {}
        self._kept: OrderedDict[bytes, _Item] = OrderedDict()
        self._news = threading.Condition()
        self._errands: deque[Callable[[], None]] = deque()
        self._wanted: dict[Piece, set[int]] = {}
        threading.Thread(target=self._run, name="media", daemon=True).start()

    def __repr__(self) -> str:
        return f"<media: {len(self._kept)} files kept, {len(self._wanted)} pieces to encode>"

    # ---- any thread ------------------------------------------------------------------------------------------------

    def do(self, errand: Callable[[], None]) -> None:
        """Call it from the desk's thread, before the next piece is encoded. It must not raise."""
        with self._news:
            self._errands.append(errand)
            self._news.notify()

    def want(self, stream: int, pieces: Iterable[Piece]) -> None:
        """Encode these when their turn comes."""
        with self._news:
            for piece in pieces:
                if not piece.is_settled:
                    self._wanted.setdefault(piece, set()).add(stream)
            self._news.notify()

    def forget(self, stream: int) -> None:
        """Nobody waits for this stream any more."""
        with self._news:
            for piece, streams in list(self._wanted.items()):
                streams.discard(stream)
                if not streams:
                    del self._wanted[piece]

    # ---- the desk's thread -----------------------------------------------------------------------------------------

    def layout(self, text: str, cuts: Sequence[int], media: Sequence[Media]) -> Layout:
        """A prompt with its media in their places. Raises InvalidRequest, Unsupported for a file that cannot be used.

        What the projector puts around a file is left out where the prompt has it already.
        """
        items = [self._item(medium.data) for medium in media]
        places = [min(max(medium.place, 0), len(text)) for medium in media]
        runs = []
        for at, (start, end) in enumerate(pairwise((0, *places, len(text)))):
            inner = [cut - start for cut in cuts if start < cut < end]
            runs.append(self._vocabulary.tokenize_cut(text[start:end], inner, add_special=at == 0))
        builder = Builder()
        builder.add_text(runs[0])
        for item, (before, behind) in zip(items, pairwise(runs), strict=True):
            for part in _trimmed(item.parts, before, behind):
                if isinstance(part, Piece):
                    builder.add_piece(part)
                else:
                    builder.add_text(part)
            builder.add_text(behind)
        return builder.layout()

    def _item(self, data: bytes) -> _Item:
        digest = hashlib.sha256(data).digest()
        found = self._kept.get(digest)
        if found is None:
            found = self._kept[digest] = self._prepare(digest, data)
            # What falls out lives on where a stream waits for it; only the next turn has to prepare it again.
            while len(self._kept) > 1 and sum(item.bytes for item in self._kept.values()) > self._kept_bytes:
                self._kept.popitem(last=False)
        self._kept.move_to_end(digest)
        return found

    def _prepare(self, digest: bytes, data: bytes) -> _Item:
        if is_sound(data):
            if not self._encoder.can_hear:
                raise Unsupported(CANNOT_HEAR)
            found = self._encoder.sound(data)
        else:
            if not self._encoder.can_see:
                raise Unsupported(CANNOT_SEE)
            found = self._encoder.image(read_image(data))
        return _Item([self._part(digest, at, part) for at, part in enumerate(found)], self._encoder.width)

    def _part(self, digest: bytes, at: int, part: Tokens | PreparedChunk) -> Tokens | Piece:
        if isinstance(part, np.ndarray):
            return part
        code = self._codes.setdefault((digest, at), FIRST_CODE - len(self._codes))
        return Piece(code, part.tokens, part.positions, part.offsets, part.moves, part.is_causal, part)

    def _run(self) -> None:
        step_back()
        while True:
            with self._news:
                self._news.wait_for(lambda: self._errands or self._wanted)
                errand = self._errands.popleft() if self._errands else None
                piece = None if errand else next(iter(self._wanted))
            if errand is not None:
                errand()
            elif piece is not None:
                self._encode(piece)
                with self._news:
                    self._wanted.pop(piece, None)
                self._wake()

    def _encode(self, piece: Piece) -> None:
        chunk = piece.chunk
        if chunk is None:
            return
        try:
            piece.rows = chunk.encode()
        except Exception as error:  # whatever a picture does, the others are encoded
            piece.error = RunnerError(CANNOT_ENCODE, log=repr(error))
        if not piece.is_settled:
            piece.error = RunnerError(CANNOT_ENCODE)
        if piece.error is not None:  # the next request tries anew
            self._kept = OrderedDict((key, item) for key, item in self._kept.items() if piece not in item.pieces)
        piece.chunk = None
        chunk.close()


def _trimmed(parts: Sequence[Tokens | Piece], before: Tokens, behind: Tokens) -> Sequence[Tokens | Piece]:
    """The parts of a file without the marks around it that the prompt brings by itself."""
    found = list(parts)
    first, last = found[0], found[-1]
    if isinstance(first, np.ndarray) and np.array_equal(before[-len(first) :], first):
        found = found[1:]
    if found and isinstance(last, np.ndarray) and np.array_equal(behind[: len(last)], last):
        found = found[:-1]
    return found
