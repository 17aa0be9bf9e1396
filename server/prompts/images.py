"""The places of images in a prompt: `[img-N]`, numbered over all messages that are kept. Sounds are among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from server.errors import InvalidRequest
from server.messages.chat import IMAGE_HERE, Message

Tag = Callable[[int], str]
PLACE = "[img]"


def plain_tag(number: int) -> str:
    """A marker as people see it, and as they may write one."""
    return f"[img-{number}]"


def mark(
    messages: Sequence[Message], *, family: str = "", has_renderer: bool = False, tag: Tag = plain_tag
) -> tuple[list[Message], int]:
    """The messages with markers in their content, and the number of images. Raises InvalidRequest.

    Each image takes the place that its client gave it, or that of the first `[img]` that is left; the markers of those
    without one come in front.
    A renderer's prompt has one space behind the markers in front, and of content with markers of its own nothing but
    those becomes places. `tag` makes the markers: what `plain_tag` makes cannot be told from what a client wrote.
    """
    count = 0
    marked: list[Message] = []
    for message in messages:
        if family == "mllama" and len(message.images) > 1:
            raise InvalidRequest("this model only supports one image while more than one image requested")
        numbers = range(count, count + len(message.images))
        count += len(message.images)
        if message.images:
            content, rest = _placed(message.content, numbers, tag)
            content = _marked(content, rest, has_renderer and len(rest) == len(numbers), tag) if rest else content
            message = msgspec.structs.replace(message, content=content)
        marked.append(message)
    return marked, count


def _placed(content: str, numbers: Sequence[int], tag: Tag) -> tuple[str, Sequence[int]]:
    """The content with the images that stand between its texts, and the numbers of those that do not."""
    texts = content.split(IMAGE_HERE)
    marks = [*map(tag, numbers), *[""] * len(texts)]
    placed = "".join(text + mark for text, mark in zip(texts, [*marks[: len(texts) - 1], ""], strict=True))
    return placed, numbers[len(texts) - 1 :]


def mark_written(text: str, count: int, tag: Tag) -> str:
    """A prompt that is taken as it is, with the markers that its author wrote into it: `[img-N]` is image N and `[img]`
    the next one that has no place yet. Those that the author has left out come in front."""
    return _marked(*_written(text, range(count), tag), False, tag)


def _marked(content: str, numbers: Sequence[int], has_renderer: bool, tag: Tag) -> str:
    if has_renderer and "[img-" in content:
        content, missing = _written(content, numbers, tag)
        # What the recordings leave out is left out of what is shown, and of nothing that a model reads.
        return content if tag is plain_tag else "".join(map(tag, missing)) + content
    front = ""
    for number in numbers:
        if PLACE in content:
            content = content.replace(PLACE, tag(number), 1)
        else:
            front += tag(number)
    if front and has_renderer and content and not content[0].isspace():
        front += " "
    return front + content


def _written(content: str, numbers: Sequence[int], tag: Tag) -> tuple[str, list[int]]:
    """The content with the markers that its author wrote, and the numbers of images without one."""
    missing = [number for number in numbers if plain_tag(number) not in content]
    for number in numbers:
        content = content.replace(plain_tag(number), tag(number), 1)
    return content, missing
