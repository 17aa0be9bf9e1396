"""Which messages reach the prompt: the model's own in front, old thoughts out, the oldest dropped until it fits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from server.errors import InvalidRequest, InvalidTemplate
from server.messages.chat import Message
from server.prompts.jinja import ChatRefused

TOKENS_PER_IMAGE = 768
CUTS_TRIED = 8  # in a row, where a template refuses one
OPENING, CLOSING = "<think>", "</think>"


def prepare(
    requested: Sequence[Message],
    *,
    system: str = "",
    stored: Sequence[Message] = (),
    family: str = "",
    model_name: str = "",
) -> list[Message]:
    """The messages of a chat: the model's system text, its stored messages, then those of the request.

    A request that opens with a system message replaces the model's system text. Models that were trained so get
    earlier answers without their thoughts. `model_name` is the name's model part, such as `deepseek-r1`.
    """
    messages = [*stored, *requested]
    if system and (not requested or requested[0].role != "system"):
        messages.insert(0, Message(role="system", content=system))
    if family == "qwen3" or model_name == "deepseek-r1":
        messages = _without_old_thoughts(messages)
    return messages


def _without_old_thoughts(messages: list[Message]) -> list[Message]:
    last_user = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    return [
        _without_thought(message) if message.role == "assistant" and at < last_user else message
        for at, message in enumerate(messages)
    ]


def _without_thought(message: Message) -> Message:
    text = message.content.lstrip()
    if not text.startswith(OPENING):
        return message
    return msgspec.structs.replace(message, content=text.partition(CLOSING)[2].lstrip())


class Fit(msgspec.Struct, frozen=True):
    """`messages` are those kept, `dropped` counts the others."""

    messages: tuple[Message, ...]
    prompt: str
    dropped: int


async def fit(
    messages: Sequence[Message],
    render: Callable[[Sequence[Message]], Awaitable[str]],
    count_tokens: Callable[[str], Awaitable[int]],
    context_tokens: int,
    *,
    has_projector: bool = False,
    count_all: Callable[[str, Sequence[Message]], Awaitable[int]] | None = None,
) -> Fit:
    """Drop messages from the front, one at a time, until the prompt fits; system messages and the last one stay.

    Images count as what clients have come to expect, and as what they really take where that is more: `count_all` tells
    it of a prompt and its messages.

    The result is that of trying every number of dropped messages in turn. Between two cuts that differ by one
    message the prompt usually shrinks, so the first fitting one is searched by halving: a cut that fits ends on the
    left, one that does not on the right, and the neighbour below the answer is known not to fit.
    """

    async def fits(prompt: str, kept: Sequence[Message]) -> bool:
        count = sum(len(message.images) for message in kept)
        images = count * TOKENS_PER_IMAGE if has_projector else 0
        if images > context_tokens or await count_tokens(prompt) + images > context_tokens:
            return False
        return not count or count_all is None or await count_all(prompt, kept) < context_tokens

    prompt = await render(messages)
    if len(messages) < 2 or await fits(prompt, messages):
        return Fit(tuple(messages), prompt, 0)
    too_much, enough = 0, len(messages)
    longest, best = Fit(tuple(messages), prompt, 0), None
    while enough - too_much > 1:
        middle = (too_much + enough) // 2
        found = await _first_rendered(messages, range(middle, min(enough, middle + CUTS_TRIED)), render)
        if found is None:
            enough = middle
        elif await fits(found[1].prompt, found[1].messages):
            enough, best = middle, found[1]
        else:
            too_much, longest = found
    return best or longest


async def _first_rendered(
    messages: Sequence[Message], cuts: Iterable[int], render: Callable[[Sequence[Message]], Awaitable[str]]
) -> tuple[int, Fit] | None:
    """The first of the cuts that can be rendered: a template may want a question in front, which a cut has dropped."""
    for start in cuts:
        kept = cut(messages, start)
        try:
            prompt = await render(kept)
        except ChatRefused:
            continue
        except InvalidTemplate:
            raise  # no matter of where the chat begins
        except InvalidRequest:
            continue
        return start, Fit(tuple(kept), prompt, len(messages) - len(kept))
    return None


def cut(messages: Sequence[Message], start: int) -> list[Message]:
    """The messages from `start` on, behind the system messages before it."""
    return [*(message for message in messages[:start] if message.role == "system"), *messages[start:]]
