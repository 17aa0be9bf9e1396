"""From a question and documents to the tokens that a reranking model scores: one sequence for each document.

A model file may bring a template with {query} and {document}; without one the texts stand between the special tokens
that the vocabulary says it wants. A text that spells a control token stays text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from server.engine.inputs import TOO_LONG, PreparedInputs
from server.engine.vocabulary import Tokens, Vocabulary
from server.errors import ContextExceeded, Unsupported
from server.messages.frames import Embed

_PLACES = re.compile(r"\{(query|document)\}")
_DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class _Piece:
    """Tokens that are the same for all documents, or the place of the document."""

    tokens: Tokens
    is_document: bool = False


class Pairs:
    """`capacity_tokens` is what a batch holds of one pair. `template` is "" where the model has none."""

    def __init__(self, vocabulary: Vocabulary, template: str, capacity_tokens: int) -> None:
        self.capacity_tokens = capacity_tokens
        self._vocabulary = vocabulary
        self._template = template
        self._controls = vocabulary.control_texts() if template else ()

    def prepare(self, command: Embed) -> PreparedInputs:
        """Raises ContextExceeded for a pair that does not fit, which with `truncate` loses the end of its document, and
        Unsupported where there is no question."""
        if command.query is None:
            raise Unsupported("This model scores documents and makes no vectors. Please use an embedding model.")
        pieces = self._pieces(command.query)
        texts = [item if isinstance(item, str) else self._vocabulary.detokenize(item) for item in command.inputs]
        return PreparedInputs(command.id, tuple(self._pair(command, pieces, text) for text in texts))

    def _pair(self, command: Embed, pieces: list[_Piece], document: str) -> Tokens:
        if self._template and not self._spells_control(f"{command.query} {document}"):
            whole = self._whole(command.query or "", document)
            if len(whole) <= self.capacity_tokens:
                return whole
        room = self.capacity_tokens - sum(len(piece.tokens) for piece in pieces)
        found = self._plain(document)
        if len(found) > room:
            if not command.truncate or room <= 0:
                raise ContextExceeded(TOO_LONG)
            found = found[:room]
        return np.concatenate([found if piece.is_document else piece.tokens for piece in pieces])

    def _whole(self, query: str, document: str) -> Tokens:
        """The template as one text, so that a token may reach from it into what is filled in."""
        values = {"query": query, _DOCUMENT: document}
        text = _PLACES.sub(lambda place: values[place[1]], self._template)
        return self._vocabulary.tokenize(text, add_special=False)

    def _spells_control(self, text: str) -> bool:
        return any(control in text for control in self._controls)

    def _pieces(self, query: str) -> list[_Piece]:
        if not self._template:
            return self._bare(query)
        found = []
        for at, text in enumerate(_PLACES.split(self._template)):
            if at % 2 == 0:
                found.append(_Piece(self._vocabulary.tokenize(text, add_special=False)))
            elif text == _DOCUMENT:
                found.append(_Piece(_tokens(), is_document=True))
            else:
                found.append(_Piece(self._plain(query)))
        return found

    def _bare(self, query: str) -> list[_Piece]:
        known = self._vocabulary
        end = [known.eos if known.eos >= 0 else known.sep] if known.add_eos else []
        middle = [*end, *([known.sep] if known.add_sep else [])]
        start = [known.bos] if known.add_bos else []
        front = np.concatenate((_tokens(*start), self._plain(query), _tokens(*middle)))
        return [_Piece(front), _Piece(_tokens(), is_document=True), _Piece(_tokens(*end))]

    def _plain(self, text: str) -> Tokens:
        return self._vocabulary.tokenize(text, add_special=False, parse_special=False)


def _tokens(*tokens: int) -> Tokens:
    return np.array(tokens, np.int32)
