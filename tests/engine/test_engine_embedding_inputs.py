"""How long a text may be, and what happens to one that is longer. Letters are tokens here."""

from __future__ import annotations

import numpy as np
import pytest

from server.engine.inputs import Inputs
from server.engine.vocabulary import Tokens
from server.errors import ContextExceeded, InvalidRequest
from server.messages.frames import Embed

BOS, EOS = 1, 2


class Letters:
    """Tokens are ASCII codes; `^` is read as BOS, `$` as EOS. `head` and `tail` are what the model adds."""

    def __init__(self, head: tuple[int, ...] = (BOS,), tail: tuple[int, ...] = (EOS,), bos: int = BOS) -> None:
        self.head, self.tail, self.bos, self.eos = head, tail, bos, EOS

    def tokenize(self, text: str, *, add_special: bool) -> Tokens:
        known = {"^": BOS, "$": EOS}
        plain = [known.get(letter, ord(letter)) for letter in text]
        return np.array([*self.head, *plain, *self.tail] if add_special else plain, np.int32)

    def checked(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        return tokens


def fitted(text: str | tuple[int, ...], capacity: int = 100, letters: Letters | None = None, **rules: object) -> str:
    """What a text becomes, as letters again."""
    inputs = Inputs(letters or Letters(), capacity)  # type: ignore[arg-type]
    [tokens] = inputs.prepare(Embed(id=1, inputs=(text,), **rules)).inputs  # type: ignore[arg-type]
    return "".join({BOS: "^", EOS: "$"}.get(token, chr(token)) for token in tokens)


def test_what_the_model_adds_stands_around_each_text() -> None:
    assert fitted("abc") == "^abc$"
    assert fitted("") == "^$"
    assert fitted("abc", letters=Letters(head=(), tail=())) == "abc"
    assert fitted("^abc") == "^abc$", "no second BOS"


def test_a_text_may_have_the_limit_less_two() -> None:
    assert fitted("abcdef", limit_tokens=8) == "^abcdef$"
    assert fitted("abcdefgh", limit_tokens=8, truncate=True) == "^abcdef$"
    assert fitted("abcdefgh", limit_tokens=8, truncate=True, letters=Letters(tail=())) == "^abcdef", "all the same"
    assert fitted("^bcdef$h", limit_tokens=8, truncate=True) == "^bcdef$$", "one that it brings itself counts"
    with pytest.raises(ContextExceeded, match=r"^the input length exceeds the context length$"):
        fitted("abcdefgh", limit_tokens=8)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_that_leaves_nothing(limit: int) -> None:
    """native-api 224"""
    with pytest.raises(InvalidRequest, match=r"^input after truncation exceeds maximum context length$"):
        fitted("abc", limit_tokens=limit, truncate=True)
    assert fitted("", limit_tokens=limit, truncate=True) == "^$"


def test_what_the_runner_cannot_hold_is_cut_once_more() -> None:
    text = "abcdefghij"
    assert fitted(text, 6, limit_tokens=20, spare_tokens=6, truncate=True) == "^abcd$"
    with pytest.raises(ContextExceeded, match="cannot be truncated further"):
        fitted(text, 6, limit_tokens=20, spare_tokens=20, truncate=True)
    with pytest.raises(ContextExceeded, match=r"^the input length exceeds the context length$"):
        fitted(text, 6, limit_tokens=20, spare_tokens=6)
    with pytest.raises(ContextExceeded, match=r"^the input length exceeds the context length$"):
        fitted(text, 6)
    with pytest.raises(ContextExceeded, match=r"^the input length exceeds the context length$"):
        fitted(text, 6, limit_tokens=20, spare_tokens=9, truncate=True)


def test_token_ids_are_taken_as_they_are() -> None:
    letters = tuple(map(ord, "abcdefgh"))
    assert fitted(letters, limit_tokens=8) == "abcdefgh"
    assert fitted(letters, limit_tokens=5, truncate=True) == "abcde"
    with pytest.raises(ContextExceeded):
        fitted(letters, limit_tokens=5)


def test_nothing_at_all_becomes_a_special_token() -> None:
    bare = Letters(head=(), tail=())
    assert fitted("", letters=bare) == "^"
    assert fitted((), letters=Letters(bos=-1)) == "$"


def test_one_text_that_does_not_fit_fails_all() -> None:
    with pytest.raises(ContextExceeded):
        Inputs(Letters(), 100).prepare(Embed(id=1, inputs=("a", "abcdefgh"), limit_tokens=8))  # type: ignore[arg-type]
