"""The places of images in a prompt: `[img-N]`, numbered over all messages that are kept."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from server.errors import InvalidRequest
from server.messages.chat import Message

PLACE = "[img]"


def mark(messages: Sequence[Message], *, family: str = "", has_renderer: bool = False) -> tuple[list[Message], int]:
    """The messages with markers in their content, and the number of images. Raises InvalidRequest.

    Each image takes the place of the first `[img]` that is left; the markers of those without one come in front.
    A renderer's prompt has one space behind the markers in front, and leaves content with markers of its own alone.
    """
    count = 0
    marked: list[Message] = []
    for message in messages:
        if family == "mllama" and len(message.images) > 1:
            raise InvalidRequest("this model only supports one image while more than one image requested")
        numbers = range(count, count + len(message.images))
        count += len(message.images)
        if message.images:
            content = _marked(message.content, numbers, has_renderer)
            message = msgspec.structs.replace(message, content=content)
        marked.append(message)
    return marked, count


def _marked(content: str, numbers: range, has_renderer: bool) -> str:
    if has_renderer and "[img-" in content:
        return content
    front = ""
    for number in numbers:
        tag = f"[img-{number}]"
        if PLACE in content:
            content = content.replace(PLACE, tag, 1)
        else:
            front += tag
    if front and has_renderer and content and not content[0].isspace():
        front += " "
    return front + content
