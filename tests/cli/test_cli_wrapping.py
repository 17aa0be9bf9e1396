"""Word wrap on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.cli.wrapping import MARGIN, WrappingWriter


def written(pieces: list[str], width: int) -> str:
    out = io.StringIO()
    writer = WrappingWriter(out, width)
    for piece in pieces:
        writer.write(piece)
    return out.getvalue()


def shown(text: str) -> list[str]:
    """The lines that a terminal shows after taking back what was taken back."""
    lines = [""]
    for part in re.split(r"(\x1b\[\d+D\x1b\[K|\n)", text):
        if part == "\n":
            lines.append("")
        elif back := re.fullmatch(r"\x1b\[(\d+)D\x1b\[K", part):
            lines[-1] = lines[-1][: -int(back[1])]
        else:
            lines[-1] += part
    return lines


def test_words_stay_whole() -> None:
    assert shown(written(["one two three four"], 15 + MARGIN)) == ["one two three ", "four"]
    assert shown(written(["one two thr", "eefo", "ur five"], 11 + MARGIN)) == ["one two ", "threefour ", "five"]


def test_a_word_longer_than_a_line_is_cut() -> None:
    assert shown(written(["abcdefghijkl"], 5 + MARGIN)) == ["abcde", "fghij", "kl"]


def test_wide_letters_break_anywhere() -> None:
    assert shown(written(["高原の夜は静か"], 6 + MARGIN)) == ["高原の", "夜は静", "か"]


def test_no_width_writes_as_it_comes() -> None:
    assert written(["one two ", "three"], 0) == "one two three"


@given(st.lists(st.text(alphabet="ab \n", max_size=12), max_size=12))
def test_nothing_is_lost_and_no_line_is_too_long(pieces: list[str]) -> None:
    text = written(pieces, 8 + MARGIN)
    assert "".join(shown(text)).replace("\n", "") == "".join(pieces).replace("\n", "")
    assert all(len(line) <= 8 for line in shown(text))


@pytest.mark.parametrize("pieces", [["a\nb"], ["a", "\n", "b"]])
def test_line_breaks_are_kept(pieces: list[str]) -> None:
    assert shown(written(pieces, 20)) == ["a", "b"]
