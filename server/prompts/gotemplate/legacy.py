"""Templates that know one turn at a time: `.System`, `.Prompt` and `.Response` instead of `.Messages`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

from server.messages.chat import Message
from server.prompts.gotemplate import nodes as n

Turn = dict[str, str]


def render_turns(messages: Iterable[Message], whole: Callable[[Turn], str], cut: Callable[[Turn], str]) -> str:
    """Render one turn after the other, and what is pending with the cut template.

    A turn ends before a system text that follows a prompt or answer, before a prompt that follows an answer, and
    before a prompt that would replace one that was never answered.
    """
    output: list[str] = []
    turn: Turn = _empty()
    for message in messages:
        is_answered = bool(turn["Response"])
        is_asked = bool(turn["Prompt"])
        if (message.role == "system" and (is_asked or is_answered)) or (
            message.role == "user" and (is_answered or is_asked)
        ):
            output.append(whole(turn))
            turn = _empty()
        match message.role:
            case "system":
                turn["System"] = message.content
            case "user":
                turn["Prompt"] = message.content
            case "assistant":
                turn["Response"] = message.content
    output.append(cut(turn))
    return "".join(output)


def _empty() -> Turn:
    return {"System": "", "Prompt": "", "Response": ""}


def cut_behind_response(body: n.Body) -> n.Body:
    """A copy without what follows the first `.Response`; conditions do not count as a place of it."""
    cut = copy.deepcopy(body)
    _cut(cut)
    return cut


def _cut(body: n.Body) -> bool:
    """Cut in place; True where the response was found."""
    for position, node in enumerate(body.statements):
        found = False
        if isinstance(node, n.Action):
            found = _cut_pipeline(node.pipeline)
            keeps = bool(node.pipeline.commands)
        elif isinstance(node, n.Include):
            found = node.pipeline is not None and _cut_pipeline(node.pipeline)
            keeps = node.pipeline is not None and bool(node.pipeline.commands)
        elif isinstance(node, (n.If, n.With, n.Range)):
            found, keeps = _cut_branch(node), True
        if found:
            del body.statements[position + keeps :]
            return True
    return False


def _cut_branch(node: n.Branch) -> bool:
    if _cut(node.body):
        node.other = None
        return True
    return node.other is not None and _cut(node.other)


def _cut_pipeline(pipeline: n.Pipeline) -> bool:
    """Operands behind the response go; a later command that has lost its arguments takes the whole action along."""
    for number, command in enumerate(pipeline.commands):
        for position, operand in enumerate(command.operands):
            is_response = isinstance(operand, n.Field) and "Response" in operand.names
            if is_response or (isinstance(operand, n.Pipeline) and _cut_pipeline(operand)):
                del command.operands[position + 1 :]
                if number + 1 < len(pipeline.commands) or pipeline.variables:
                    pipeline.commands.clear()
                return True
    return False
