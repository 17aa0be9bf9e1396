"""Modelfiles: the text form of a model.

A line starts with a keyword and a blank; the value runs to the end of the line, or from quotes to quotes at the end of
some later line. Characters that print nothing are dropped everywhere, in quotes too, because stored digests depend on
it; `Modelfile.dropped` counts them, so that a caller can warn.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable, Iterator

import msgspec

from server.errors import InvalidModelfile

KEYWORDS = (
    "from", "license", "template", "system", "adapter", "draft", "renderer", "parser", "parameter", "message",
    "requires",
)  # fmt: skip
ROLES = ("system", "user", "assistant")
_BLANKS = " \t"
_LINE_ENDS = "\r\n"


class Instruction(msgspec.Struct, frozen=True):
    """`keyword` in lower case; `argument` is the name of a parameter or the role of a message."""

    keyword: str
    value: str
    argument: str = ""


class Modelfile(msgspec.Struct, frozen=True):
    """Instructions in their order; `dropped` characters printed nothing and were left out."""

    instructions: tuple[Instruction, ...] = ()
    dropped: int = 0

    def values(self, keyword: str) -> list[str]:
        return [each.value for each in self.instructions if each.keyword == keyword]

    def last(self, keyword: str) -> str:
        """The one that counts where there can be but one; "" for none."""
        return next(iter(self.values(keyword)[-1:]), "")

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
    """Raises InvalidModelfile."""
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

    def instructions(self) -> Iterator[Instruction]:
        while self._skip_to_keyword():
            keyword = self._word(lambda sign: sign.isascii() and sign.isalpha(), is_keyword=True).lower()
            if keyword not in KEYWORDS:
                raise InvalidModelfile(f"(line {self._line}): command must be one of {_choices(KEYWORDS)}")
            argument = ""
            if keyword == "parameter":
                argument = self._word(lambda sign: sign.isascii() and (sign.isalnum() or sign == "_"))
            elif keyword == "message":
                argument = self._word(lambda sign: sign.isascii() and sign.isalpha())
                if argument not in ROLES:
                    choices = _choices(("system", "user", "assistant"))
                    raise InvalidModelfile(f"(line {self._line}): message role must be one of {choices}")
            yield Instruction(keyword, self._value(), argument)

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
                while sign and sign not in _LINE_ENDS:
                    sign = self._next()
            elif sign not in _BLANKS + _LINE_ENDS:
                self._at -= 1
                return True
        return False

    def _word(self, belongs: Callable[[str], bool], *, is_keyword: bool = False) -> str:
        """Up to the one blank that ends it. A keyword may begin with anything, and is then none."""
        start = self._at
        if is_keyword:
            self._next()
        while sign := self._next():
            if belongs(sign):
                continue
            word = self._text[start : self._at - 1]
            if sign in _BLANKS or is_keyword:
                return word if sign in _BLANKS else ""
            raise InvalidModelfile(f"unexpected EOF: {word}")
        raise InvalidModelfile("unexpected EOF")

    def _value(self) -> str:
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
            raise InvalidModelfile("unexpected EOF")
        return value


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
    words = (instruction.keyword.upper(), instruction.argument, quoted(instruction.value))
    return f"{words[0]} {words[1]} {words[2]}" if instruction.argument else f"{words[0]} {words[2]}"


def _choices(words: tuple[str, ...]) -> str:
    named = [f'"{word}"' for word in words]
    return ", ".join(named[:-1]) + f", or {named[-1]}"
