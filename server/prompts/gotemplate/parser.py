"""Tokens to a tree. All that Go refuses before it runs a template is refused here."""

from __future__ import annotations

from collections.abc import Container

from server.errors import InvalidTemplate
from server.prompts.gotemplate import literals
from server.prompts.gotemplate import nodes as n
from server.prompts.gotemplate.lexer import (
    ASSIGN,
    BOOL,
    CHAR,
    CLOSE,
    DECLARE,
    DOT,
    END,
    FIELD,
    KEYWORD,
    NUMBER,
    OPEN,
    OTHER,
    PIPE,
    RAW,
    RIGHT,
    SPACE,
    STRING,
    TEXT,
    VARIABLE,
    Lexer,
    Token,
    parse_error,
)  # fmt: skip

MAX_DEPTH = 100  # blocks and parentheses within each other
_NOT_CALLABLE = (n.Constant, n.Dot, n.Nil)


def parse_tree(source: str, functions: Container[str]) -> dict[str, n.Body]:
    """All definitions by name; the template itself is "". Raises InvalidTemplate."""
    parser = _Parser(Lexer(source).tokens, functions)
    parser.define("", parser.top_level())
    return parser.definitions


class _Parser:
    def __init__(self, tokens: list[Token], functions: Container[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._functions = functions
        self._variables = ["$"]
        self._ranges = 0
        self._depth = 0
        self.definitions: dict[str, n.Body] = {}

    # ---- tokens ----

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at += token.kind != END
        return token

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _skip_space(self) -> Token:
        """The next token that is no space, not taken yet."""
        while self._tokens[self._at].kind == SPACE:
            self._at += 1
        return self._tokens[self._at]

    def _next_word(self) -> Token:
        self._skip_space()
        return self._next()

    def _fail(self, message: str) -> InvalidTemplate:
        return parse_error(self._tokens[max(self._at - 1, 0)].line, message)

    def _unexpected(self, token: Token, context: str) -> InvalidTemplate:
        if token.kind == END:
            return self._fail("unexpected EOF")
        shown = f"<{token.text}>" if token.kind in (KEYWORD, DOT, FIELD) else f'"{token.text}"'
        return self._fail(f"unexpected {shown} in {context}")

    def _close(self, context: str) -> Token:
        token = self._next_word()
        if token.kind != CLOSE:
            raise self._unexpected(token, context)
        return token

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._fail(f"blocks are nested more than {MAX_DEPTH} deep")

    # ---- statements ----

    def define(self, name: str, body: n.Body) -> None:
        known = self.definitions.get(name)
        if known is None or known.is_blank:
            self.definitions[name] = body
        elif not body.is_blank:
            raise self._fail(f'template: multiple definition of template "{name}"')

    def top_level(self) -> n.Body:
        body = n.Body()
        while (token := self._peek()).kind != END:
            if token.kind == OPEN and self._opens("define"):
                self._definition()
                continue
            statement = self._statement()
            if isinstance(statement, Token):
                raise self._fail(f"unexpected {{{{{statement.text}}}}}")
            body.statements.append(statement)
        return body

    def _opens(self, keyword: str) -> bool:
        at = self._at + 1
        while self._tokens[at].kind == SPACE:
            at += 1
        return self._tokens[at].kind == KEYWORD and self._tokens[at].text == keyword

    def _definition(self) -> None:
        self._next()
        self._next_word()
        name = self._template_name("define clause")
        self._close("define clause")
        self.define(name, self._separate_body("define clause"))

    def _separate_body(self, context: str) -> n.Body:
        """A body that sees neither the variables nor the ranges around it."""
        variables, self._variables, ranges, self._ranges = self._variables, ["$"], self._ranges, 0
        body, last = self._body()
        if last.text == "else":
            raise self._fail(f"unexpected {{{{else}}}} in {context}")
        self._close("end")
        self._variables, self._ranges = variables, ranges
        return body

    def _template_name(self, context: str) -> str:
        token = self._next_word()
        if token.kind not in (STRING, RAW):
            raise self._unexpected(token, context)
        return self._unquoted(token)

    def _unquoted(self, token: Token) -> str:
        try:
            return literals.unquote(token.text)
        except ValueError as error:
            raise self._fail(str(error)) from None

    def _body(self) -> tuple[n.Body, Token]:
        """Statements up to an `end` or `else`, whose keyword is the second value."""
        self._deeper()
        body = n.Body()
        while self._peek().kind != END:
            statement = self._statement()
            if isinstance(statement, Token):
                self._depth -= 1
                return body, statement
            body.statements.append(statement)
        raise self._fail("unexpected EOF")

    def _statement(self) -> n.Statement | Token:
        """The next statement, or the keyword that ends the body."""
        token = self._next()
        if token.kind == TEXT:
            return n.Text(token.start, token.start + len(token.text), token.text)
        word = self._skip_space()
        if word.kind != KEYWORD or word.text == "define":
            pipeline = self._pipeline("command", (CLOSE,))
            return n.Action(pipeline.start, pipeline.end, pipeline)
        self._next()
        match word.text:
            case "end" | "else":
                return word
            case "if" | "with" | "range":
                return self._branch(word)
            case "template":
                return self._include(word)
            case "block":
                return self._block(word)
        return self._jump(word)

    def _jump(self, word: Token) -> n.Statement:
        token = self._next_word()
        if token.kind != CLOSE:
            raise self._fail(f'unexpected "{token.text}" in {{{{{word.text}}}}}')
        if not self._ranges:
            raise self._fail(f"{{{{{word.text}}}}} outside {{{{range}}}}")
        kind = n.Break if word.text == "break" else n.Continue
        return kind(word.start, word.start + len(word.text))

    def _branch(self, word: Token) -> n.Branch:
        visible = len(self._variables)
        pipeline = self._pipeline(word.text, (CLOSE,))
        self._ranges += word.text == "range"
        body, last = self._body()
        self._ranges -= word.text == "range"
        other: n.Body | None = None
        if last.text == "else":
            other = self._else(word.text)
        else:
            self._close("end")
        del self._variables[visible:]
        kinds: dict[str, type[n.Branch]] = {"if": n.If, "with": n.With, "range": n.Range}
        return kinds[word.text](word.start, pipeline.end, pipeline, body, other)

    def _else(self, branch: str) -> n.Body:
        """What follows `else`. `else if` and `else with` share the `end` of the branch they belong to."""
        word = self._skip_space()
        if word.kind == KEYWORD and word.text == branch and branch != "range":
            self._next()
            self._deeper()
            nested = n.Body([self._branch(word)])
            self._depth -= 1
            return nested
        if word.kind == KEYWORD and word.text in ("if", "with"):
            raise self._fail(f"unexpected <{word.text}> in input")
        self._close("else")
        body, last = self._body()
        if last.text == "else":
            raise self._fail("expected end; found {{else}}")
        self._close("end")
        return body

    def _include(self, word: Token) -> n.Include:
        name = self._template_name("template clause")
        if self._skip_space().kind == CLOSE:
            raise InvalidTemplate("undefined template specified")
        pipeline = self._pipeline("template clause", (CLOSE,))
        return n.Include(word.start, pipeline.end, name, pipeline)

    def _block(self, word: Token) -> n.Include:
        name = self._template_name("block clause")
        pipeline = self._pipeline("block clause", (CLOSE,))
        self.define(name, self._separate_body("block clause"))
        return n.Include(word.start, pipeline.end, name, pipeline)

    # ---- pipelines ----

    def _pipeline(self, context: str, ends: tuple[str, ...]) -> n.Pipeline:
        start = self._skip_space().start
        variables, assigns = self._declarations(context)
        commands: list[n.Command] = []
        while True:
            token = self._skip_space()
            if token.kind in ends:
                self._next()
                break
            if token.kind in (PIPE, CLOSE, RIGHT, END, OTHER, ASSIGN, DECLARE, KEYWORD):
                self._next()
                raise self._unexpected(token, context)
            commands.append(self._command())
        if not commands:
            raise self._fail(f"missing value for {context}")
        for stage, command in enumerate(commands[1:], 2):
            if isinstance(command.operands[0], _NOT_CALLABLE):
                raise self._fail(f"non executable command in pipeline stage {stage}")
        return n.Pipeline(start, commands[-1].end, commands, variables, assigns)

    def _declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        """`$x :=`, `$x =` and, in a range, `$i, $x :=`."""
        names: list[str] = []
        while self._skip_space().kind == VARIABLE:
            begin = self._at
            token = self._next()
            sign = self._skip_space()
            if sign.kind in (ASSIGN, DECLARE):
                self._next()
                names.append(token.text)
                self._variables += names
                return tuple(names), sign.kind == ASSIGN
            if sign.kind != OTHER or sign.text != ",":
                if names:
                    raise self._fail("range can only initialize variables")
                self._at = begin
                return (), False
            self._next()
            names.append(token.text)
            if context != "range" or len(names) > 1:
                raise self._fail(f"too many declarations in {context}")
        if names:
            raise self._fail("range can only initialize variables")
        return (), False

    def _command(self) -> n.Command:
        operands: list[n.Operand] = []
        while True:
            operand = self._operand()
            if operand is None:
                raise self._unexpected(self._next(), "operand" if operands else "command")
            operands.append(operand)
            token = self._peek()
            if token.kind == SPACE:
                token = self._skip_space()
                if token.kind not in (CLOSE, RIGHT, PIPE):
                    continue
            if token.kind == PIPE:
                self._next()
            elif token.kind not in (CLOSE, RIGHT):
                raise self._unexpected(self._next(), "operand")
            return n.Command(operands[0].start, operands[-1].end, operands)

    def _operand(self) -> n.Operand | None:
        """A term with the fields behind it."""
        begin = self._peek()
        term = self._term()
        if term is None or self._peek().kind != FIELD:
            return term
        names: list[str] = []
        end = term.end
        while self._peek().kind == FIELD:
            token = self._next()
            names.append(token.text[1:])
            end = token.start + len(token.text)
        if isinstance(term, n.Field):
            return n.Field(term.start, end, (*term.names, *names))
        if isinstance(term, n.Variable):
            return n.Variable(term.start, end, term.name, (*term.names, *names))
        if isinstance(term, _NOT_CALLABLE):
            raise self._fail(f"unexpected . after term {begin.text!r}")
        return n.Chain(term.start, end, term, tuple(names))

    def _term(self) -> n.Operand | None:
        token = self._peek()
        start, end = token.start, token.start + len(token.text)
        self._next()
        match token.kind:
            case "word":
                if token.text not in self._functions:
                    raise self._fail(f'function "{token.text}" not defined')
                return n.Function(start, end, token.text)
            case "dot":
                return n.Dot(start, end)
            case "nil":
                return n.Nil(start, end)
            case "field":
                return n.Field(start, end, (token.text[1:],))
            case "variable":
                if token.text not in self._variables:
                    raise self._fail(f'undefined variable "{token.text}"')
                return n.Variable(start, end, token.text, ())
            case "bool" | "number" | "char" | "string" | "raw string":
                return n.Constant(start, end, self._constant(token))
            case "(":
                self._deeper()
                pipeline = self._pipeline("parenthesized pipeline", (RIGHT,))
                self._depth -= 1
                pipeline.start, pipeline.end = start, self._tokens[self._at - 1].start + 1
                return pipeline
        self._at -= token.kind != END
        return None

    def _constant(self, token: Token) -> bool | int | float | complex | str:
        try:
            if token.kind == BOOL:
                return token.text == "true"
            if token.kind == NUMBER:
                return literals.number(token.text)
            if token.kind == CHAR:
                return literals.character(token.text)
            return literals.unquote(token.text)
        except ValueError as error:
            raise self._fail(str(error)) from None
