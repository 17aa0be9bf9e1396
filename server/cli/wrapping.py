"""Words that come in pieces, wrapped at the edge of the terminal."""

from __future__ import annotations

import os
import unicodedata
from typing import TextIO

MARGIN = 5  # columns left free at the right edge
DEFAULT_WIDTH = 80


class WrappingWriter:
    """Writes text at once; a word that turns out too long for its line is taken back and written on the next one.

    `width` 0 writes everything as it comes.
    """

    def __init__(self, out: TextIO, width: int = 0) -> None:
        self._out = out
        self._limit = max(1, width - MARGIN) if width else 0
        self._column = 0
        self._word = ""

    def write(self, text: str) -> None:
        if self._limit:
            for letter in text:
                self._put(letter)
        else:
            self._out.write(text)
        self._out.flush()

    def _put(self, letter: str) -> None:
        if letter == "\n":
            self._column, self._word = 0, ""
            self._out.write(letter)
            return
        wide = _columns(letter)
        if self._column + wide > self._limit:
            self._break(letter)
        self._out.write(letter)
        self._column += wide
        # East Asian text has no blanks: it breaks anywhere.
        self._word = "" if letter in " \t" or wide == 2 else self._word + letter

    def _break(self, letter: str) -> None:
        """Begin a new line, with the word that `letter` continues."""
        word = "" if letter in " \t" or _columns(letter) == 2 else self._word
        columns = sum(_columns(part) for part in word)
        if columns >= self._limit:
            word, columns = "", 0  # longer than a line: cut where it is
        if word:
            self._out.write(f"\x1b[{columns}D\x1b[K")
        self._out.write("\n" + word)
        self._word, self._column = word, columns


def _columns(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Cf", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def terminal_width(out: TextIO) -> int:
    """0 where `out` is no terminal. Asks the terminal: a COLUMNS in the environment may be another one's."""
    if not out.isatty():
        return 0
    try:
        return os.get_terminal_size(out.fileno()).columns or DEFAULT_WIDTH
    except OSError:
        return DEFAULT_WIDTH
