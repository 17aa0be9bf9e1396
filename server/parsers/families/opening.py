"""How an answer begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from server.messages.chat import Message, Think
from server.parsers.sections import is_begun, thinks

THINK_TAGS = ("<think>", "</think>")


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What the request asked for, and the prompt that the answer follows."""

    think: Think = None
    tools: tuple[Mapping[str, Any], ...] = ()
    last: Message | None = None
    prompt: str = ""

    def begins_with_thought(self, default: bool, tags: tuple[str, str] = THINK_TAGS) -> bool:
        """Whether the answer begins inside a thought. `default`: whether the family thinks where nothing is said.

        A tag at the end of the prompt decides, since prompts differ in what they make of an answer that the client
        began: some go on with it, others open a new turn. Else content of the client's leaves no place for a thought.
        """
        if not thinks(self.think, default):
            return False
        end = self.prompt.rstrip()
        if end.endswith(tags):
            return end.endswith(tags[0])
        return not is_begun(self.last)
