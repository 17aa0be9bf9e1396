"""Runs a tree over data. Untrusted templates are bounded: output, loop steps, time, templates within templates."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Literal

from server.errors import InvalidTemplate
from server.prompts.gotemplate import nodes as n
from server.prompts.gotemplate import printing, values
from server.prompts.gotemplate.functions import FUNCTIONS, METHODS, BadArgument, CallFailed
from server.prompts.gotemplate.literals import INT64_MAX, to_bytes
from server.prompts.gotemplate.values import Value, is_true, type_name

MAX_OUTPUT_CHARACTERS = 16 * 1024 * 1024
MAX_STEPS = 1_000_000
MAX_SECONDS = 5.0
MAX_TEMPLATE_DEPTH = 100

Jump = Literal["break", "continue"] | None


class _Absent:
    """No value came through the pipe."""


_ABSENT = _Absent()
Piped = Value | _Absent


class Execution:
    """One rendering. `is_lenient`: a field of nothing is nothing, as in the last pass of a legacy template."""

    def __init__(self, source: str, definitions: Mapping[str, n.Body], is_lenient: bool = False) -> None:
        self._source = source
        self._definitions = definitions
        self._is_lenient = is_lenient
        self._name = ""
        self._variables: list[tuple[str, Value]] = []
        self._pieces: list[str] = []
        self._size = 0
        self._steps = 0
        self._depth = 0
        self._deadline = time.monotonic() + MAX_SECONDS

    def run(self, data: Value) -> str:
        """Raises InvalidTemplate; then nothing of the output counts."""
        self._variables = [("$", data)]
        try:
            self._body(data, self._definitions[""])
        except RecursionError:
            raise InvalidTemplate("template: it is nested too deep to be rendered", status=500) from None
        return to_bytes("".join(self._pieces)).decode("utf-8", "replace")

    def _fail(self, node: n.Node, message: str) -> InvalidTemplate:
        line = self._source.count("\n", 0, node.start) + 1
        column = node.start - (self._source.rfind("\n", 0, node.start) + 1)
        place = self._source[node.start : node.end]
        shown = f'template: :{line}:{column}: executing "{self._name}" at <{place}>: {message}'
        return InvalidTemplate(shown, status=500)

    def _write(self, node: n.Node, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_OUTPUT_CHARACTERS:
            raise self._fail(node, f"the prompt is longer than {MAX_OUTPUT_CHARACTERS} characters")
        self._pieces.append(text)

    def _step(self, node: n.Node) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise self._fail(node, f"more than {MAX_STEPS} loop steps")
        if self._steps % 256 == 0 and time.monotonic() > self._deadline:
            raise self._fail(node, f"not done after {MAX_SECONDS:g} seconds")

    # ---- statements ----

    def _body(self, dot: Value, body: n.Body) -> Jump:
        for node in body.statements:
            if isinstance(node, n.Text):
                self._write(node, node.text)
            elif isinstance(node, n.Action):
                value = self._pipeline(dot, node.pipeline)
                if not node.pipeline.variables:
                    self._write(node, printing.shown(value))
            elif isinstance(node, n.Include):
                self._include(dot, node)
            elif isinstance(node, n.Break):
                return "break"
            elif isinstance(node, n.Continue):
                return "continue"
            elif jump := self._branch(dot, node):
                return jump
        return None

    def _branch(self, dot: Value, node: n.Branch) -> Jump:
        self._step(node)
        visible = len(self._variables)
        try:
            value = self._pipeline(dot, node.pipeline)
            if isinstance(node, n.Range):
                return self._range(dot, node, value)
            if is_true(value):
                return self._body(value if isinstance(node, n.With) else dot, node.body)
            return self._body(dot, node.other) if node.other else None
        finally:
            del self._variables[visible:]

    def _range(self, dot: Value, node: n.Range, value: Value) -> Jump:
        visible = len(self._variables)
        is_empty = True
        for key, item in self._items(node, value):
            is_empty = False
            self._step(node)
            self._bind(node, key, item)
            jump = self._body(item, node.body)
            del self._variables[visible:]
            if jump == "break":
                break
        if is_empty and node.other:
            jump = self._body(dot, node.other)
            return None if jump == "break" else jump
        return None

    def _items(self, node: n.Range, value: Value) -> Iterator[tuple[Value, Value]]:
        if value is None:
            return iter(())
        if isinstance(value, bytes):
            value = [values.Byte(byte) for byte in value]
        if isinstance(value, list):
            return enumerate(value)
        if isinstance(value, dict):
            keys = sorted(value, key=to_bytes) if isinstance(value, values.NestedProperties) else None
            return ((key, value[key]) for key in keys or printing.sorted_keys(value))
        if isinstance(value, int) and not isinstance(value, bool):
            if len(node.pipeline.variables) > 1:
                raise self._fail(node.pipeline, f"can't use {value} to iterate over more than one variable")
            return ((number, number) for number in range(value))
        raise self._fail(node.pipeline, f"range can't iterate over {printing.text(value)}")

    def _bind(self, node: n.Range, key: Value, item: Value) -> None:
        """Give a round its values: the last variable is the element, one before it the index or key."""
        names = node.pipeline.variables
        for back, (name, value) in enumerate(zip(reversed(names), (item, key), strict=False), 1):
            if node.pipeline.assigns:
                self._assign(node.pipeline, name, value)
            else:
                self._variables[-back] = (name, value)

    def _include(self, dot: Value, node: n.Include) -> None:
        body = self._definitions.get(node.name)
        if body is None:
            raise self._fail(node, f'template "{node.name}" not defined')
        self._step(node)
        if self._depth >= MAX_TEMPLATE_DEPTH:
            raise self._fail(node, f"exceeded maximum template depth ({MAX_TEMPLATE_DEPTH})")
        data = self._pipeline(dot, node.pipeline) if node.pipeline else None
        outer = self._variables, self._name
        self._variables, self._name = [("$", data)], node.name
        self._depth += 1
        self._body(data, body)
        self._depth -= 1
        self._variables, self._name = outer

    # ---- pipelines ----

    def _pipeline(self, dot: Value, node: n.Pipeline) -> Value:
        value: Piped = _ABSENT
        for command in node.commands:
            value = self._command(dot, command, value)
        for name in node.variables:
            if node.assigns:
                self._assign(node, name, value)
            else:
                self._variables.append((name, value))
        return value

    def _assign(self, node: n.Node, name: str, value: Value) -> None:
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                self._variables[at] = (name, value)
                return
        raise self._fail(node, f"undefined variable: {name}")

    def _command(self, dot: Value, node: n.Command, piped: Piped) -> Value:
        first, arguments = node.operands[0], node.operands[1:]
        if isinstance(first, n.Function):
            return self._call(dot, node, first, arguments, piped)
        has_arguments = bool(arguments) or not isinstance(piped, _Absent)
        if isinstance(first, n.Field):
            return self._fields(first, dot, first.names, has_arguments)
        if isinstance(first, n.Chain):
            return self._fields(first, self._operand(dot, first.base), first.names, has_arguments)
        if isinstance(first, n.Variable) and first.names:
            return self._fields(first, self._variable(first), first.names, has_arguments)
        if has_arguments:
            place = self._source[first.start : first.end]
            raise self._fail(node, f"can't give argument to non-function {place}")
        if isinstance(first, n.Nil):
            raise self._fail(node, "nil is not a command")
        return self._operand(dot, first)

    def _operand(self, dot: Value, node: n.Operand) -> Value:
        match node:
            case n.Constant():
                if isinstance(node.value, int) and node.value > INT64_MAX:
                    raise self._fail(node, f"{node.value} overflows int")
                return node.value
            case n.Field():
                return self._fields(node, dot, node.names, False)
            case n.Variable():
                return self._fields(node, self._variable(node), node.names, False)
            case n.Chain():
                return self._fields(node, self._operand(dot, node.base), node.names, False)
            case n.Function():
                return self._call(dot, node, node, [], _ABSENT)
            case n.Pipeline():
                return self._pipeline(dot, node)
            case n.Dot():
                return dot
        return None

    def _variable(self, node: n.Variable) -> Value:
        for name, value in reversed(self._variables):
            if name == node.name:
                return value
        raise self._fail(node, f"undefined variable: {node.name}")

    def _call(self, dot: Value, place: n.Node, function: n.Function, operands: list[n.Operand], piped: Piped) -> Value:
        known = FUNCTIONS[function.name]
        given = len(operands) + (not isinstance(piped, _Absent))
        if given < known.least or (known.most is not None and given > known.most):
            wanted = known.least if known.least == known.most else f"at least {known.least}"
            raise self._fail(function, f"wrong number of args for {function.name}: want {wanted} got {given}")
        arguments: list[Value] = []
        for operand in operands:
            value = self._operand(dot, operand)
            if function.name in ("and", "or") and is_true(value) is (function.name == "or"):
                return value
            arguments.append(value)
        if not isinstance(piped, _Absent):
            arguments.append(piped)
        return self._called(place, function.name, arguments)

    def _called(self, place: n.Node, name: str, arguments: list[Value]) -> Value:
        try:
            result = FUNCTIONS[name].call(arguments)
        except BadArgument as error:
            raise self._fail(place, str(error)) from None
        except CallFailed as error:
            raise self._fail(place, f"error calling {name}: {error}") from None
        if isinstance(result, str) and len(result) > MAX_OUTPUT_CHARACTERS:
            raise self._fail(place, f"a text of more than {MAX_OUTPUT_CHARACTERS} characters")
        return result

    def _fields(self, node: n.Node, value: Value, names: tuple[str, ...], has_arguments: bool) -> Value:
        for position, name in enumerate(names, 1):
            value = self._field(node, value, name, has_arguments and position == len(names))
        return value

    def _field(self, node: n.Node, value: Value, name: str, has_arguments: bool) -> Value:
        """Methods come before fields and keys."""
        method = METHODS.get(type(value), {}).get(name)
        if method is not None and not has_arguments:
            return method(value)
        if isinstance(value, dict):
            if has_arguments:
                raise self._fail(node, f"{name} is not a method but has arguments")
            return value.value(name) if isinstance(value, values.Mapping) else value.get(name)
        if isinstance(value, values.Record) and name in value.fields:
            if has_arguments:
                raise self._fail(node, f"{name} has arguments but cannot be invoked as function")
            return value.fields[name]
        if value is None:
            if self._is_lenient:
                return None
            raise self._fail(node, f"nil pointer evaluating interface {{}}.{name}")
        raise self._fail(node, f"can't evaluate field {name} in type {type_name(value)}")
