"""Modelfiles: the text form of a model.

A line starts with a keyword and a blank; the value runs to the end of the line, or from quotes to quotes at the end of
some later line. Characters that print nothing are dropped everywhere, in quotes too, because stored digests depend on
it; `Modelfile.dropped` counts them, so that a caller can warn.

Two kinds of values cannot be said in that form: those with such characters, which a joined emoji or a French colon
needs, and those in which three quotes end a line. Printing writes something close to them, and in front of it a comment
that has the exact value, `# exactly "…"` with the escapes of JSON. Reading takes the exact value as long as the text
below it is still the one that was printed for it, so that nobody who edits the text wonders why nothing changes; for
other programs it is a comment.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from server.errors import InvalidModelfile

KEYWORDS = (
    "from", "license", "template", "system", "adapter", "draft", "renderer", "parser", "parameter", "message",
    "requires",
)  # fmt: skip
ROLES = ("system", "user", "assistant")
_BLANKS = " \t"
_LINE_ENDS = "\r\n"
_WITH_ARGUMENT = ("parameter", "message")
_EXACTLY = "# exactly "
_QUOTES_AT_AN_END = re.compile(r'"""(?=[ \t]*[\r\n])')


class Instruction(msgspec.Struct, frozen=True, eq=False):
    """`keyword` in lower case; `argument` is the name of a parameter or the role of a message. `line` is where it
    begins, from 1; equal instructions may stand anywhere."""

    keyword: str
    value: str
    argument: str = ""
    line: int = 0

    def _said(self) -> tuple[str, str, str]:
        return self.keyword, self.value, self.argument

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instruction) and self._said() == other._said()

    def __hash__(self) -> int:
        return hash(self._said())


class Modelfile(msgspec.Struct, frozen=True):
    """Instructions in their order; `dropped` characters printed nothing and were left out."""

    instructions: tuple[Instruction, ...] = ()
    dropped: int = 0

    def values(self, keyword: str) -> list[str]:
        return [each.value for each in self.instructions if each.keyword == keyword]

    def last(self, keyword: str) -> str:
        """The one that counts where there can be but one; "" for none."""
        return next(iter(self.values(keyword)[-1:]), "")

    def line_of(self, keyword: str) -> int:
        """Where the last one is; 0 for none."""
        return next(iter([each.line for each in self.instructions if each.keyword == keyword][-1:]), 0)

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Roles and texts."""
        return [(each.argument, each.value) for each in self.instructions if each.keyword == "message"]

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """Names and values as written."""
        return [(each.argument, each.value) for each in self.instructions if each.keyword == "parameter"]

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in map(instruction_text, self.instructions))


def parse(source: bytes | str) -> Modelfile:
    """Raises InvalidModelfile, with the line where there is one to name."""
    text = source if isinstance(source, str) else decoded(source)
    kept = "".join(sign for sign in text if _is_kept(sign))
    instructions = tuple(_Scanner(kept).instructions())
    if not any(each.keyword == "from" for each in instructions):
        raise InvalidModelfile("no FROM line")
    return Modelfile(instructions, len(text) - len(kept))


def decoded(source: bytes) -> str:
    """UTF-8, or UTF-16 where a byte order mark says so. Bytes that are no text become U+FFFD."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if source.startswith(mark):
            return source[len(mark) :].decode(encoding, "replace")
    return source.decode("utf-8", "replace")


def _is_kept(sign: str) -> bool:
    if sign.isascii():
        return sign.isprintable() or sign in "\t\r\n"
    return unicodedata.category(sign)[0] in "LMNPS"


class _Scanner:
    """A cursor over the text. A carriage return and a line feed count as two lines."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._exact: str | None = None  # what the comment in front of an instruction says

    def instructions(self) -> Iterator[Instruction]:
        while self._skip_to_keyword():
            line = self._line
            keyword = self._word(lambda sign: sign.isascii() and sign.isalpha(), is_keyword=True).lower()
            if keyword not in KEYWORDS:
                raise _failure(f"(line {self._line}): command must be one of {_choices(KEYWORDS)}", line)
            argument = ""
            if keyword == "parameter":
                argument = self._word(lambda sign: sign.isascii() and (sign.isalnum() or sign == "_"))
            elif keyword == "message":
                argument = self._word(lambda sign: sign.isascii() and sign.isalpha())
                if argument not in ROLES:
                    choices = _choices(("system", "user", "assistant"))
                    raise _failure(f"(line {self._line}): message role must be one of {choices}", line)
            yield Instruction(keyword, self._exactly(self._value(line)), argument, line)

    def _exactly(self, value: str) -> str:
        exact, self._exact = self._exact, None
        return exact if exact is not None and _close_to(exact) == value else value

    def _next(self) -> str:
        """The next character, "" at the end."""
        sign = self._text[self._at : self._at + 1]
        self._at += len(sign)
        self._line += sign in _LINE_ENDS and bool(sign)
        return sign

    def _skip_to_keyword(self) -> bool:
        """Over blanks and comments; false at the end."""
        while sign := self._next():
            if sign == "#":
                start = self._at - 1
                while sign and sign not in _LINE_ENDS:
                    sign = self._next()
                self._exact = _exact_value(self._text[start : self._at].rstrip(_LINE_ENDS))
            elif sign not in _BLANKS + _LINE_ENDS:
                self._at -= 1
                return True
        return False

    def _word(self, belongs: Callable[[str], bool], *, is_keyword: bool = False) -> str:
        """Up to the one blank that ends it. A keyword may begin with anything, and is then none."""
        start, line = self._at, self._line
        if is_keyword:
            self._next()
        while sign := self._next():
            if belongs(sign):
                continue
            word = self._text[start : self._at - 1]
            if sign in _BLANKS or is_keyword:
                return word if sign in _BLANKS else ""
            raise _failure(f"unexpected EOF: {word}", line)
        raise _failure("unexpected EOF", line)

    def _value(self, line: int) -> str:
        """Up to the first end of a line at which no quotes are open."""
        start = end = self._at
        begin: int | None = None
        while sign := self._next():
            if sign not in _BLANKS + _LINE_ENDS:
                begin, end = self._at - 1 if begin is None else begin, self._at
            # Looking at the last sign first keeps a license of ten thousand lines from being read ten thousand times.
            elif sign in _LINE_ENDS and (begin is None or self._text[begin] != '"' or self._text[end - 1] == '"'):
                value = unquoted(self._text[start:end])
                if value is not None:
                    return value
        value = unquoted(self._text[start:end])
        if value is None:
            raise _failure("unexpected EOF", line)
        return value


def _failure(sentence: str, line: int) -> InvalidModelfile:
    """The sentences are known to clients word for word; `line` is where the instruction begins that they are about."""
    failure = InvalidModelfile(sentence)
    failure.line = line
    return failure


# ---- values --------------------------------------------------------------------------------------------------------


def unquoted(text: str) -> str | None:
    """The value that a text stands for; None while its quotes are open."""
    text = text.strip(_BLANKS + _LINE_ENDS)
    for quotes in ('"""', '"'):
        if text.startswith(quotes):
            is_closed = len(text) >= 2 * len(quotes) and text.endswith(quotes)
            return text[len(quotes) : -len(quotes)] if is_closed else None
    return text


def quoted(value: str) -> str:
    """The text that stands for a value. Quotes are put only where the value needs them."""
    is_plain = value == value.strip(_BLANKS + _LINE_ENDS) and not any(end in value for end in _LINE_ENDS)
    if is_plain and not value.startswith('"'):
        return value
    return f'"""{value}"""' if '"' in value else f'"{value}"'


def instruction_text(instruction: Instruction) -> str:
    """One line or several; with a comment in front where the value cannot be said exactly."""
    value = _close_to(instruction.value)
    comment = "" if value == instruction.value else f"{_EXACTLY}{json.dumps(instruction.value)}\n"
    argument = f"{instruction.argument} " if instruction.keyword in _WITH_ARGUMENT else ""
    return f"{comment}{instruction.keyword.upper()} {argument}{quoted(value)}"


def _close_to(value: str) -> str:
    """The value itself where a Modelfile can say it, else something like it that it can say."""
    kept = "".join(sign for sign in value if _is_kept(sign))
    return _QUOTES_AT_AN_END.sub("'''", kept)


def _exact_value(comment: str) -> str | None:
    if not comment.startswith(_EXACTLY):
        return None
    try:
        value: Any = json.loads(comment.removeprefix(_EXACTLY))
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def _choices(words: tuple[str, ...]) -> str:
    named = [f'"{word}"' for word in words]
    return ", ".join(named[:-1]) + f", or {named[-1]}"
