"""Jinja for texts that nobody vouches for: no way out, no endless loop, no giant value.

Python cannot stop a thread, so every operation of a template that can take long or grow is counted where it happens:
reading it, loop bodies, macros, calls, filters, tests, comparisons, slices, operators and output check the time that is
left; texts and structures are measured before they are built. The tree of a template is rewritten for that before it is
compiled.
"""

from __future__ import annotations

import contextvars
import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.ext import Extension, loopcontrols
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARACTERS = 16 * 1024 * 1024  # of any text, and of the prompt
MAX_ITEMS = 250_000  # of any structure, shared parts counted as often as they occur
MAX_RANGE = 1_000_000
MAX_NUMBER_BITS = 1024
MAX_WIDTH = 10_000  # of padding and indentation
MAX_SECONDS = 5.0

_FILTERS = frozenset({
    "abs", "attr", "batch", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float",
    "format", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min",
    "pprint", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "slice", "sort",
    "string", "sum", "title", "trim", "unique", "upper", "wordcount",
})  # fmt: skip
_WIDE = re.compile(r"[0-9]{5}")


class TooCostly(Exception):
    """The chat template asks for more time or memory than a prompt may take."""


class Budget:
    def __init__(self, seconds: float = MAX_SECONDS) -> None:
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds

    def tick(self) -> None:
        if time.monotonic() > self._deadline:
            raise TooCostly(f"it is not done after {self._seconds:g} seconds")


_budget: contextvars.ContextVar[Budget | None] = contextvars.ContextVar("budget", default=None)


def tick() -> None:
    """One operation of the template that is being rendered in this thread."""
    budget = _budget.get()
    if budget:
        budget.tick()


Result = TypeVar("Result")


def run(budget: Budget, work: Callable[[], Result]) -> Result:
    """Read or render a template with what `budget` allows."""
    token = _budget.set(budget)
    try:
        return work()
    finally:
        _budget.reset(token)


def measured(value: Any) -> Any:
    """The value itself. Raises TooCostly where its text or its structure would be too large."""
    if isinstance(value, (str, bytes)):
        if len(value) > MAX_CHARACTERS:
            raise TooCostly(f"a text of more than {MAX_CHARACTERS} characters")
    elif isinstance(value, (list, tuple, dict, set, frozenset)):
        _measure(value)
    elif isinstance(value, int) and value.bit_length() > MAX_NUMBER_BITS:
        raise TooCostly("a number that is too large")
    return value


def _measure(value: Any) -> None:
    items = characters = 0
    waiting: list[Any] = [value]
    while waiting:
        part = waiting.pop()
        items += 1
        if isinstance(part, (str, bytes)):
            characters += len(part)
        elif isinstance(part, (list, tuple, set, frozenset)):
            items += len(part)
            waiting.extend(part)
        elif isinstance(part, dict):
            items += len(part)
            waiting.extend(part)
            waiting.extend(part.values())
        if items > MAX_ITEMS or characters > MAX_CHARACTERS:
            raise TooCostly("a list or mapping that is too large")


def _text_length(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, tuple, dict)) else 64


def _check_total(length: int) -> None:
    if length > MAX_CHARACTERS:
        raise TooCostly(f"a text of more than {MAX_CHARACTERS} characters")


def _check_format(text: str, values: Iterable[Any]) -> None:
    """Refuse formats that multiply their arguments or pad without measure."""
    arguments = [measured(value) for value in values]
    if _WIDE.search(text) or ("*" in text and any(isinstance(v, int) and abs(v) > MAX_WIDTH for v in arguments)):
        raise TooCostly("a format that pads too far")
    places = text.count("%") + text.count("{")
    longest = max((len(str(value)) for value in arguments), default=0)
    _check_total(len(text) + places * longest)


def _check_call(function: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    for value in (*arguments, *named.values()):
        measured(value)
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    if isinstance(owner, str):
        _check_text_method(owner, name, arguments, named)


def _check_text_method(text: str, name: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> None:
    if name == "join" and arguments:
        items = list(arguments[0])
        _check_total(len(text) * len(items) + sum(_text_length(item) for item in items))
    elif name == "replace" and len(arguments) >= 2:
        _check_replace(text, arguments[0], arguments[1])
    elif name in ("format", "format_map"):
        _check_format(text, (*arguments, *named.values()))
    elif name in ("translate", "maketrans"):
        raise TooCostly(f"str.{name}")
    elif name in ("center", "ljust", "rjust", "zfill", "expandtabs"):
        width = max((abs(value) for value in arguments if isinstance(value, int)), default=8)
        if width > MAX_WIDTH:
            raise TooCostly("padding that is too wide")
        _check_total(len(text) + width * text.count("\t"))


def _check_replace(text: str, old: Any, new: Any) -> None:
    count = text.count(str(old)) if old else len(text) + 1
    _check_total(len(text) + count * len(str(new)))


def _bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def bounded(*arguments: Any, **named: Any) -> Any:
        tick()
        values = [measured(value) for value in (*arguments, *named.values())]
        if name == "replace" and len(values) >= 4:
            _check_replace(str(values[1]), values[2], values[3])
        elif name == "format" and values:
            _check_format(str(values[0]), values[1:])
        elif name == "indent" and values:
            _check_indent(str(values[0]), values[1:])
        elif name == "sum" and any(isinstance(value, (list, tuple)) for value in values[2:]):
            raise TooCostly("a sum of lists")
        elif name in ("batch", "slice") and any(isinstance(v, int) and v > MAX_WIDTH for v in values):
            raise TooCostly("too many parts")
        elif name == "join":
            _check_join(values)
        return measured(function(*arguments, **named))

    return bounded


def _check_indent(text: str, arguments: list[Any]) -> None:
    widths = [value for value in arguments if isinstance(value, int)]
    texts = [len(value) for value in arguments if isinstance(value, str)]
    _check_total(len(text) + (text.count("\n") + 1) * max((*widths, *texts), default=4))


def _bounded_test(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def bounded(*arguments: Any, **named: Any) -> Any:
        tick()
        return function(*arguments, **named)

    return bounded


def _check_join(values: list[Any]) -> None:
    sequences = [value for value in values if isinstance(value, (list, tuple))]
    separators = [value for value in values if isinstance(value, str)]
    for items in sequences:
        _check_total(sum(map(len, separators)) * len(items) + sum(_text_length(item) for item in items))


def _concatenated(items: list[Any]) -> str:
    tick()
    texts = [item if isinstance(item, str) else str(measured(item)) for item in items]
    _check_total(sum(map(len, texts)))
    return "".join(texts)


def _ticked(value: Any) -> Any:
    tick()
    return value


def _shown(value: Any) -> Any:
    """What is printed for a value; measured, since a small structure may print as a giant text."""
    tick()
    return measured(value)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise TooCostly(f"range() of more than {MAX_RANGE} numbers")
    return numbers


class _Generation(Extension):
    """`{% generation %}` marks the answers in training data; in a prompt it means nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            tick()
            yield token


class _CountedGenerator(CodeGenerator):
    def visit(self, node: nodes.Node, *arguments: Any, **named: Any) -> Any:
        tick()
        return super().visit(node, *arguments, **named)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox with a measure on everything. Autoescape is off, there is nothing to include."""

    code_generator_class = _CountedGenerator
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # constants would be computed while the template is read, without a budget
            finalize=_shown,
            extensions=[loopcontrols, _Generation],
        )
        self.filters = {
            name: _bounded_filter(name, function) for name, function in self.filters.items() if name in _FILTERS
        }
        tests: dict[str, Any] = dict(self.tests)
        self.tests = {name: _bounded_test(function) for name, function in tests.items()}
        self.filters |= {"puna_tick": _ticked, "puna_concatenate": _concatenated, "puna_measure": measured}
        self.globals = {"range": _range, "dict": dict, "namespace": jinja2.utils.Namespace}
        self.globals["joiner"], self.globals["cycler"] = jinja2.utils.Joiner, jinja2.utils.Cycler

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        tick()
        if operator == "%" and isinstance(left, str):
            _check_format(left, right if isinstance(right, tuple) else (right,))
        elif operator == "*":
            for value, count in ((left, right), (right, left)):
                if isinstance(value, (str, list, tuple)) and isinstance(count, int) and len(value) * count > MAX_ITEMS:
                    raise TooCostly("a repetition that is too long")
        elif operator == "**" and (abs(right) > 64 or abs(left) > 2**32):
            raise TooCostly("a power that is too large")
        return measured(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        tick()
        _check_call(__obj, args, kwargs)
        return measured(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`"…".format`, which the sandbox itself replaces."""
        formatted = super().wrap_str_format(value)
        if formatted is None:
            return None
        text = str(value.__self__)

        def bounded(*arguments: Any, **named: Any) -> str:
            _check_format(text, (*arguments, *named.values()))
            return formatted(*arguments, **named)

        return bounded

    def _generate(self, source: nodes.Template, name: Any, filename: Any, defer_init: bool = False) -> str:
        return super()._generate(_bounded(source, self), name, filename, defer_init)


def _bounded(tree: nodes.Template, environment: jinja2.Environment) -> nodes.Template:
    """The tree with its loops, macros, comparisons, concatenations and literals counted or measured."""
    for block in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
        assert isinstance(block, (nodes.For, nodes.Macro, nodes.CallBlock))
        block.body.insert(0, nodes.ExprStmt(_filtered("puna_tick", nodes.Const(None, lineno=block.lineno))))
    for comparison in list(tree.find_all(nodes.Compare)):
        comparison.expr = _filtered("puna_tick", comparison.expr)
    _replace(tree)
    tree.set_environment(environment)
    return tree


def _replace(node: nodes.Node) -> None:
    for name, value in node.iter_fields():
        if isinstance(value, list):
            value[:] = [_replaced(item) if isinstance(item, nodes.Node) else item for item in value]
        elif isinstance(value, nodes.Node):
            setattr(node, name, _replaced(value))


def _replaced(node: nodes.Node) -> nodes.Node:
    tick()
    _replace(node)
    if isinstance(node, nodes.Concat):
        return _filtered("puna_concatenate", nodes.List(node.nodes, lineno=node.lineno))
    if isinstance(node, (nodes.List, nodes.Dict)) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        return _filtered("puna_measure", node)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return _filtered("puna_tick", node)
    return node


def _filtered(name: str, value: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno)
