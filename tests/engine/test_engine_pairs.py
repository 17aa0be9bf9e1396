"""What a reranking model is given of a question and a document. Letters are tokens here."""

from __future__ import annotations

import numpy as np
import pytest

from server.engine.pairs import Pairs
from server.engine.vocabulary import Tokens
from server.errors import ContextExceeded, Unsupported
from server.messages.frames import Embed

BOS, EOS, SEP = 1, 2, 3
SPECIAL = {"^": BOS, "$": EOS, "|": SEP}


class Letters:
    """Tokens are ASCII codes; special ones are `^`, `$` and `|`, and stay letters where they are not parsed."""

    def __init__(self, eos: int = EOS, *, add_bos: bool = True, add_eos: bool = True, add_sep: bool = True) -> None:
        self.bos, self.eos, self.sep = BOS, eos, SEP
        self.add_bos, self.add_eos, self.add_sep = add_bos, add_eos, add_sep

    def control_texts(self) -> tuple[str, ...]:
        return tuple(SPECIAL)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool = True) -> Tokens:
        assert not add_special
        return np.array(
            [SPECIAL.get(letter, ord(letter)) if parse_special else ord(letter) for letter in text], np.int32
        )

    def detokenize(self, tokens: tuple[int, ...]) -> str:
        return "".join(map(chr, tokens))


def pair(
    query: str | None, document: str | tuple[int, ...], capacity: int = 100, template: str = "", **more: object
) -> str:
    """As letters again; a special letter that is a mere text is in brackets."""
    truncate = bool(more.pop("truncate", False))
    pairs = Pairs(Letters(**more), template, capacity)  # type: ignore[arg-type]
    [tokens] = pairs.prepare(Embed(id=1, inputs=(document,), query=query, truncate=truncate)).inputs
    named = {number: letter for letter, number in SPECIAL.items()}
    return "".join(named.get(token) or (f"[{chr(token)}]" if chr(token) in SPECIAL else chr(token)) for token in tokens)


def test_special_tokens_stand_where_the_vocabulary_wants_them() -> None:
    assert pair("ab", "cd") == "^ab$|cd$"
    assert pair("ab", "cd", add_eos=False) == "^ab|cd"
    assert pair("ab", "cd", add_bos=False, add_sep=False) == "ab$cd$"
    assert pair("ab", "cd", eos=-1) == "^ab||cd|", "a separator takes the place of an end that does not exist"
    assert pair("ab", (99, 100)) == "^ab$|cd$"


def test_a_template_is_filled() -> None:
    assert pair("ab", "cd", template="^Q:{query} D:{document}$") == "^Q:ab D:cd$"
    assert pair("{document}", "cd", template="{query}/{document}") == "{document}/cd"


def test_a_control_token_in_a_text_is_a_text() -> None:
    assert pair("a$", "c|") == "^a[$]$|c[|]$"
    assert pair("a$", "c|", template="^{query}|{document}$") == "^a[$]|c[|]$"


def test_a_document_that_is_too_long_loses_its_end() -> None:
    assert pair("ab", "cdefgh", capacity=8, truncate=True) == "^ab$|cd$"
    assert pair("ab", "cdefgh", capacity=8, truncate=True, template="^{query}|{document}$") == "^ab|cde$"
    for query, document in (("ab", "cdefgh"), ("abcdefghi", "j")):
        with pytest.raises(ContextExceeded):
            pair(query, document, capacity=8)
    with pytest.raises(ContextExceeded):
        pair("abcdefghi", "j", capacity=8, truncate=True)


def test_without_a_question_there_is_no_score() -> None:
    with pytest.raises(Unsupported, match="makes no vectors"):
        pair(None, "cd")
