"""The tree of a template. `start` and `end` are offsets in its source, for messages."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Node:
    start: int
    end: int


@dataclass(slots=True)
class Text(Node):
    text: str


# ---- operands ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Dot(Node):
    pass


@dataclass(slots=True)
class Nil(Node):
    pass


@dataclass(slots=True)
class Constant(Node):
    """A bool, number or string. A whole number may be beyond 64 bits; it fails when it is used."""

    value: bool | int | float | complex | str


@dataclass(slots=True)
class Field(Node):
    """`.A.B`"""

    names: tuple[str, ...]


@dataclass(slots=True)
class Variable(Node):
    """`$x.A.B`: `name` is `$x`."""

    name: str
    names: tuple[str, ...]


@dataclass(slots=True)
class Function(Node):
    name: str


@dataclass(slots=True)
class Chain(Node):
    """Fields of something else: `(pipeline).A.B`."""

    base: Operand
    names: tuple[str, ...]


@dataclass(slots=True)
class Command(Node):
    """A call: the first operand with the others as its arguments."""

    operands: list[Operand]


@dataclass(slots=True)
class Pipeline(Node):
    """Commands, each of which gets the value of the one before, and the variables that take the last value."""

    commands: list[Command]
    variables: tuple[str, ...] = ()
    assigns: bool = False


Operand = Dot | Nil | Constant | Field | Variable | Function | Chain | Pipeline


# ---- statements --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Action(Node):
    pipeline: Pipeline


@dataclass(slots=True)
class If(Node):
    pipeline: Pipeline
    body: Body
    other: Body | None


@dataclass(slots=True)
class With(Node):
    pipeline: Pipeline
    body: Body
    other: Body | None


@dataclass(slots=True)
class Range(Node):
    pipeline: Pipeline
    body: Body
    other: Body | None


@dataclass(slots=True)
class Include(Node):
    """`template "name" pipeline`"""

    name: str
    pipeline: Pipeline | None


@dataclass(slots=True)
class Break(Node):
    pass


@dataclass(slots=True)
class Continue(Node):
    pass


Branch = If | With | Range
Statement = Text | Action | If | With | Range | Include | Break | Continue


@dataclass(slots=True)
class Body:
    statements: list[Statement] = field(default_factory=list)

    @property
    def is_blank(self) -> bool:
        """Nothing but white space: such a definition neither counts nor replaces another."""
        return all(isinstance(node, Text) and not node.text.strip() for node in self.statements)
