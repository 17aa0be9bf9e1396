"""What a template says about its model: the names it uses, its thinking tags, the tag of its tool calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from server.prompts.gotemplate import nodes as n


def identifiers(definitions: Mapping[str, n.Body]) -> tuple[str, ...]:
    """Every component of fields and variables in all definitions, in lower case, sorted."""
    found = {name.lower() for body in definitions.values() for node in operands_of(body) for name in _names(node)}
    return tuple(sorted(found))


def _names(node: n.Operand) -> tuple[str, ...]:
    if isinstance(node, n.Field):
        return node.names
    return (node.name, *node.names) if isinstance(node, n.Variable) else ()


def operands_of(body: n.Body | None) -> Iterator[n.Operand]:
    """All operands below a body, in document order; neither declared variables nor what has a field hung on it."""
    for node in body.statements if body else ():
        if isinstance(node, (n.Action, n.Include)):
            if node.pipeline:
                yield from _of_pipeline(node.pipeline)
        elif isinstance(node, (n.If, n.With, n.Range)):
            yield from _of_pipeline(node.pipeline)
            yield from operands_of(node.body)
            yield from operands_of(node.other)


def _of_pipeline(pipeline: n.Pipeline) -> Iterator[n.Operand]:
    for command in pipeline.commands:
        for operand in command.operands:
            yield from _of_operand(operand)


def _of_operand(operand: n.Operand) -> Iterator[n.Operand]:
    if isinstance(operand, n.Pipeline):
        yield from _of_pipeline(operand)
    elif not isinstance(operand, n.Chain):
        yield operand


# ---- thinking tags ---------------------------------------------------------------------------------------------------


def thinking_tags(root: n.Body) -> tuple[str, str] | None:
    """The texts round `.Thinking` within a range over the messages, or None where one is missing."""
    tags = ("", "")
    for around in _thinking_bodies(root, is_over_messages=False):
        tags = _edge(around.statements[0]), _edge(around.statements[-1])
    return tags if all(tags) else None


def _edge(node: n.Statement) -> str:
    return node.text.strip() if isinstance(node, n.Text) else ""


def _thinking_bodies(body: n.Body | None, is_over_messages: bool) -> Iterator[n.Body]:
    """The bodies that directly hold a mention of `.Thinking`, in document order."""
    for node in body.statements if body else ():
        if isinstance(node, (n.Text, n.Break, n.Continue)) or not body:
            continue
        if is_over_messages and node.pipeline and _mentions(node.pipeline, "Thinking"):
            yield body
        if isinstance(node, (n.If, n.With, n.Range)):
            inner = _mentions(node.pipeline, "Messages") if isinstance(node, n.Range) else is_over_messages
            yield from _thinking_bodies(node.body, inner)
            yield from _thinking_bodies(node.other, inner)


def _mentions(pipeline: n.Pipeline, name: str) -> bool:
    return any(isinstance(operand, n.Field) and operand.names[0] == name for operand in _of_pipeline(pipeline))


# ---- tag of tool calls -----------------------------------------------------------------------------------------------


def tool_tag(root: n.Body) -> str:
    """The text that opens a tool call: the first text in the body of the first `if` on `.ToolCalls`, up to a brace."""
    found = _if_on_calls(root)
    text = _first_text(found.body)[0] if found else ""
    return text.replace("\r\n", "\n").partition("{")[0].strip() or "{"


def _if_on_calls(body: n.Body | None) -> n.If | None:
    for node in body.statements if body else ():
        if not isinstance(node, (n.If, n.With, n.Range)):
            continue
        if isinstance(node, n.If) and _tests_calls(node.pipeline):
            return node
        if found := _if_on_calls(node.body) or _if_on_calls(node.other):
            return found
    return None


def _tests_calls(pipeline: n.Pipeline) -> bool:
    return any(
        isinstance(operand, n.Field) and "ToolCalls" in operand.names
        for command in pipeline.commands
        for operand in command.operands
    )


def _first_text(body: n.Body | None) -> tuple[str, bool]:
    """The first text that is not blank, and whether the search ends here."""
    for node in body.statements if body else ():
        if isinstance(node, n.Text):
            if node.text.strip():
                return node.text, True
        elif isinstance(node, (n.If, n.With, n.Range)):
            text, ended = _first_text(node.body)
            return (text, True) if ended else (_first_text(node.other)[0], True)
        else:
            return "", True
    return "", False
