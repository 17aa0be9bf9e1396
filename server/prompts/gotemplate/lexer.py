"""Template source to tokens: text between actions, and the words inside them."""

from __future__ import annotations

from typing import NamedTuple

from server.errors import InvalidTemplate

TEXT, OPEN, CLOSE, END = "text", "{{", "}}", "end of template"
SPACE, FIELD, VARIABLE, WORD, KEYWORD = "space", "field", "variable", "word", "keyword"
BOOL, NIL, DOT, NUMBER, CHAR, STRING, RAW = "bool", "nil", "dot", "number", "char", "string", "raw string"
PIPE, ASSIGN, DECLARE, LEFT, RIGHT, OTHER = "|", "=", ":=", "(", ")", "other"

KEYWORDS = frozenset({"block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"})
BLANKS = " \t\r\n"
_ENDS_WORD = frozenset(" \t\r\n.,|:)(")
_DECIMAL = frozenset("0123456789_")
_BASES = {"x": frozenset("0123456789abcdefABCDEF_"), "o": frozenset("01234567_"), "b": frozenset("01_")}


class Token(NamedTuple):
    kind: str
    text: str
    start: int
    line: int


def is_word_character(character: str) -> bool:
    """A letter, a decimal digit or an underscore."""
    return character == "_" or character.isalpha() or character.isdecimal()


def parse_error(line: int, message: str) -> InvalidTemplate:
    return InvalidTemplate(f"template: :{line}: {message}")


class Lexer:
    """Reads a whole source at once; `tokens` is the result. Raises InvalidTemplate."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._line = 1
        self._parens = 0
        self.tokens: list[Token] = []
        self._read()
        self.tokens.append(Token(END, "", len(source), self._line))

    def _fail(self, message: str) -> InvalidTemplate:
        return parse_error(self._line, message)

    def _emit(self, kind: str, end: int) -> None:
        text = self._source[self._at : end]
        self.tokens.append(Token(kind, text, self._at, self._line))
        self._line += text.count("\n")
        self._at = end

    def _skip(self, end: int) -> None:
        self._line += self._source.count("\n", self._at, end)
        self._at = end

    def _read(self) -> None:
        source = self._source
        while self._at < len(source):
            opening = source.find("{{", self._at)
            text_end = opening if opening >= 0 else len(source)
            trims = opening >= 0 and self._is_left_trim(opening + 2)
            kept = len(source[self._at : text_end].rstrip(BLANKS)) + self._at if trims else text_end
            if kept > self._at:
                self._emit(TEXT, kept)
            self._skip(text_end)
            if opening < 0:
                return
            inner = opening + (4 if trims else 2)
            if source.startswith("/*", inner):
                self._comment(inner)
            else:
                self._emit(OPEN, opening + 2)
                self._skip(inner)
                self._action()

    def _is_left_trim(self, at: int) -> bool:
        return self._source.startswith("-", at) and self._source[at + 1 : at + 2] in tuple(BLANKS)

    def _is_right_trim(self, at: int) -> bool:
        return self._source[at : at + 1] in tuple(BLANKS) and self._source.startswith("-}}", at + 1)

    def _close(self, at: int) -> bool:
        """Leave the action if it ends at `at`, with the blanks behind it where it trims."""
        if self._is_right_trim(at):
            end = at + 4
            while self._source[end : end + 1] in tuple(BLANKS):
                end += 1
            self._skip(end)
            return True
        if self._source.startswith("}}", at):
            self._skip(at + 2)
            return True
        return False

    def _comment(self, at: int) -> None:
        end = self._source.find("*/", at + 2)
        if end < 0:
            raise self._fail("unclosed comment")
        self._skip(end + 2)
        if not self._close(end + 2):
            raise self._fail("comment ends before closing delimiter")

    def _action(self) -> None:
        self._parens = 0
        while True:
            at, line = self._at, self._line
            if self._close(at):
                if self._parens:
                    raise self._fail("unclosed left paren")
                self.tokens.append(Token(CLOSE, "}}", at, line))
                return
            if at >= len(self._source):
                raise self._fail("unclosed action")
            self._word(self._source[at])

    def _word(self, first: str) -> None:
        at = self._at
        if first in BLANKS:
            self._blanks()
        elif first == '"':
            self._quoted('"', STRING, "unterminated quoted string")
        elif first == "'":
            self._quoted("'", CHAR, "unterminated character constant")
        elif first == "`":
            end = self._source.find("`", at + 1)
            if end < 0:
                raise self._fail("unterminated raw quoted string")
            self._emit(RAW, end + 1)
        elif first == "$" or (first == "." and self._source[at + 1 : at + 2] not in tuple("0123456789")):
            self._name(VARIABLE if first == "$" else FIELD)
        elif first in "+-.0123456789":
            self._number()
        elif is_word_character(first):
            self._identifier()
        else:
            self._sign(first)

    def _blanks(self) -> None:
        end = self._at
        while self._source[end : end + 1] in tuple(BLANKS) and not self._is_right_trim(end):
            end += 1
        self._emit(SPACE, end)

    def _quoted(self, quote: str, kind: str, message: str) -> None:
        at = self._at + 1
        while at < len(self._source):
            character = self._source[at]
            if character == "\n":
                break
            if character == quote:
                self._emit(kind, at + 1)
                return
            at += 2 if character == "\\" and self._source[at + 1 : at + 2] != "\n" else 1
        raise self._fail(message)

    def _word_end(self, at: int) -> int:
        while at < len(self._source) and is_word_character(self._source[at]):
            at += 1
        following = self._source[at : at + 1]
        if following and following not in _ENDS_WORD and not self._source.startswith("}}", at):
            raise self._fail(f"bad character U+{ord(following):04X} {following!r}")
        return at

    def _name(self, kind: str) -> None:
        """`.field` or `$variable`; a dot alone is DOT, a dollar alone the variable of the root."""
        end = self._word_end(self._at + 1)
        self._emit(DOT if kind == FIELD and end == self._at + 1 else kind, end)

    def _identifier(self) -> None:
        end = self._word_end(self._at)
        word = self._source[self._at : end]
        fixed = {"true": BOOL, "false": BOOL, "nil": NIL}
        self._emit(KEYWORD if word in KEYWORDS else fixed.get(word, WORD), end)

    def _number(self) -> None:
        end = self._number_end(self._at)
        if self._source[end : end + 1] in ("+", "-"):
            end = self._number_end(end)
            if self._source[end - 1] != "i":
                raise self._fail(f"bad number syntax: {self._source[self._at : end]!r}")
        if end < len(self._source) and is_word_character(self._source[end]):
            raise self._fail(f'bad number syntax: "{self._source[self._at : end + 1]}"')
        self._emit(NUMBER, end)

    def _number_end(self, at: int) -> int:
        source = self._source
        if source[at : at + 1] in ("+", "-"):
            at += 1
        digits = _DECIMAL
        base = source[at + 1 : at + 2].lower()
        if source[at : at + 1] == "0" and base in _BASES:
            digits, at = _BASES[base], at + 2
        at = self._run(at, digits)
        if source[at : at + 1] == ".":
            at = self._run(at + 1, digits)
        exponents = {10: "eE", 22: "pP"}.get(len(digits) - 1, "")
        if source[at : at + 1] and source[at : at + 1] in exponents:
            at += 1
            if source[at : at + 1] in ("+", "-"):
                at += 1
            at = self._run(at, _DECIMAL)
        return at + 1 if source[at : at + 1] == "i" else at

    def _run(self, at: int, allowed: frozenset[str]) -> int:
        while self._source[at : at + 1] in allowed:
            at += 1
        return at

    def _sign(self, first: str) -> None:
        at = self._at
        if first == ":":
            if not self._source.startswith(":=", at):
                raise self._fail("expected :=")
            self._emit(DECLARE, at + 2)
            return
        if first == "(":
            self._parens += 1
        elif first == ")":
            self._parens -= 1
            if self._parens < 0:
                raise self._fail("unexpected right paren")
        elif not " " <= first <= "~":
            raise self._fail(f"unrecognized character in action: U+{ord(first):04X}")
        kinds = {"=": ASSIGN, "|": PIPE, "(": LEFT, ")": RIGHT}
        self._emit(kinds.get(first, OTHER), at + 1)
