"""A parsed template and the three ways to render it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from server.errors import InvalidTemplate
from server.messages.chat import Message, Think
from server.prompts.gotemplate import data, inspection, legacy
from server.prompts.gotemplate import nodes as n
from server.prompts.gotemplate.evaluator import Execution
from server.prompts.gotemplate.functions import FUNCTIONS
from server.prompts.gotemplate.parser import parse_tree

MAX_SOURCE_BYTES = 256 * 1024


def parse(text: str) -> GoTemplate:
    """Read a template. Raises InvalidTemplate."""
    if len(text.encode("utf-8", "replace")) > MAX_SOURCE_BYTES:
        raise InvalidTemplate(f"template: longer than {MAX_SOURCE_BYTES} bytes")
    definitions = parse_tree(text, FUNCTIONS)
    names = inspection.identifiers(definitions)
    if "messages" not in names and "response" not in names:
        end = len(text)
        answer = n.Field(end, end, ("Response",))
        pipeline = n.Pipeline(end, end, [n.Command(end, end, [answer])])
        definitions[""].statements.append(n.Action(end, end, pipeline))
    return GoTemplate(text, definitions)


class GoTemplate:
    """Immutable; one object serves any number of renderings, in any threads."""

    def __init__(self, text: str, definitions: Mapping[str, n.Body]) -> None:
        self.text = text
        self._definitions = definitions

    @cached_property
    def identifiers(self) -> tuple[str, ...]:
        """The names of fields and variables, in lower case, sorted."""
        return inspection.identifiers(self._definitions)

    @cached_property
    def thinking_tags(self) -> tuple[str, str] | None:
        """The opening and closing tag of thinking, as far as the template shows them."""
        return inspection.thinking_tags(self._definitions[""])

    @cached_property
    def tool_tag(self) -> str:
        """What opens a tool call in an answer; `{` where the template does not say."""
        return inspection.tool_tag(self._definitions[""])

    @property
    def takes_messages(self) -> bool:
        """Whether the template walks the messages itself."""
        return "messages" in self.identifiers

    @cached_property
    def capabilities(self) -> tuple[str, ...]:
        """Of tools, insert and thinking, those that the template can do."""
        found = (
            ("tools", "tools" in self.identifiers),
            ("insert", "suffix" in self.identifiers),
            ("thinking", self.thinking_tags is not None),
        )
        return tuple(name for name, can in found if can)

    @property
    def has_tool_round_trip(self) -> bool:
        """Whether it shows calls and their results."""
        marks = ('eq .Role "tool"', "tool_response", "TOOL_RESULTS")
        return {"tools", "toolcalls"} <= set(self.identifiers) and any(mark in self.text for mark in marks)

    def render(
        self, messages: Iterable[Message], tools: Sequence[Mapping[str, Any]] | None = None, think: Think = None
    ) -> str:
        """The prompt of a chat. `tools` None is a request without the key. Raises InvalidTemplate."""
        if self.takes_messages:
            return self._execute(data.root(messages, tools, think))
        return self.render_legacy(messages, think)

    def render_legacy(self, messages: Iterable[Message], think: Think = None) -> str:
        """Turn by turn, whatever the template names."""
        keys = data.think_keys(think)
        return legacy.render_turns(
            data.merge(messages),
            lambda turn: self._execute({**turn, **keys}),
            lambda turn: Execution(self.text, self._cut, is_lenient=True).run({**turn, **keys}),
        )

    def render_insert(self, prompt: str, suffix: str, think: Think = None) -> str:
        """The prompt of a completion between two texts."""
        return self._execute({"Prompt": prompt, "Suffix": suffix, "Response": "", **data.think_keys(think)})

    @cached_property
    def _cut(self) -> Mapping[str, n.Body]:
        return {**self._definitions, "": legacy.cut_behind_response(self._definitions[""])}

    def _execute(self, root: Mapping[str, Any]) -> str:
        return Execution(self.text, self._definitions).run(root)
