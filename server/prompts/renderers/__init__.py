"""Prompts of the families whose chats the reference renders in code: one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from server.errors import PunaError
from server.messages.chat import Message, Think
from server.prompts import images
from server.prompts.renderers.chat import Chat, is_instruction
from server.prompts.renderers.table import RENDERERS, Renderer

__all__ = ["RENDERERS", "render"]


def render(
    name: str,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None,
    think: Think,
    tag: images.Tag = images.plain_tag,
) -> str:
    """The prompt of a chat. Raises InvalidRequest where the family cannot render it, PunaError for an unknown name.

    `tag` marks the images, each of which has a place then; with plain marks some have none, as in the recordings.
    """
    renderer = RENDERERS.get(name)
    if renderer is None:
        raise PunaError(f'unknown renderer "{name}"')
    if renderer.trims:
        messages = [_trimmed(message) for message in messages]
    if tag is images.plain_tag:
        marked = _as_recorded(renderer, messages)
    else:
        marked, _ = images.mark(messages, has_renderer=True, tag=tag)
    return renderer.render(Chat(messages=tuple(marked), tools=tuple(tools or ()), think=think))


def _as_recorded(renderer: Renderer, messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with the places that the reference gives their images."""
    if not renderer.sees:
        return messages
    if renderer.system_images == "left out":
        messages = [msgspec.structs.replace(one, images=()) if is_instruction(one) else one for one in messages]
    marked, _ = images.mark(messages, has_renderer=True)
    if renderer.system_images == "counted":
        return [one if is_instruction(one) else shown for one, shown in zip(messages, marked, strict=True)]
    return marked


def _trimmed(message: Message) -> Message:
    return message if message.role == "tool" else msgspec.structs.replace(message, content=message.content.strip())
