"""Texts of a chat that spell control tokens stay texts.

A user who writes <|im_end|>, or a web page that a tool has fetched, must not end a turn. Each such spelling in what
the client sent is torn apart by a mark that nobody can guess, the prompt is rendered, and where a mark has come through
the prompt is cut: no token reaches across a cut, so none is a control token. The marks themselves are gone by then; the
model reads what was written.

The places of images have such marks too: an [img-0] that a user writes is no picture.
"""

from __future__ import annotations

import functools
import itertools
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from server.messages.chat import Message, ToolCall
from server.prompts.images import plain_tag

# What templates print where an image stands, and around it: the image itself takes their place.
PLACEHOLDERS = (
    "<|image_pad|>", "<|image|>", "<image>", "<start_of_image>", "<image_soft_token>", "[IMG]", "<|audio_pad|>",
    "<|AUDIO|>", "<audio_soft_token>",
)  # fmt: skip
BRACKETS = (
    "<|vision_start|>", "<|vision_end|>", "<end_of_image>", "[IMG_END]", "<|audio_bos|>", "<|audio_eos|>",
)  # fmt: skip

# Marks of thoughts in the client's own history and instructions are what templates look for.
_TRUSTED_ROLES = ("assistant", "system", "developer")


@functools.lru_cache(maxsize=16)
def _spelling(texts: tuple[str, ...]) -> re.Pattern[str] | None:
    """Matches the first character of a spelled control token; None where there are no such tokens."""
    rests: dict[str, list[str]] = {}
    for text in texts:
        if len(text) > 1:
            rests.setdefault(text[0], []).append(re.escape(text[1:]))
    if not rests:
        return None
    return re.compile("|".join(f"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in rests.items()))


class Cut(msgspec.Struct, frozen=True):
    """A text, and rising places in it that no token may reach across. `images`: the number of each image that stands in
    it, once, and the character that it stands in front of; in the order of their places."""

    text: str
    cuts: tuple[int, ...] = ()
    images: tuple[tuple[int, int], ...] = ()


class Guard:
    """One prompt's. `control_texts`: those of the vocabulary's control tokens. `template`: the text that may print
    placeholders of its own beside images."""

    def __init__(self, control_texts: Sequence[str] = (), template: str = "") -> None:
        texts = tuple(control_texts)
        self._any = _spelling(texts)
        self._but_thoughts = _spelling(tuple(text for text in texts if "think" not in text.lower()))
        secret = secrets.token_hex(8)
        self._mark = f"\ufdd0{secret}\ufdd1"
        self._seal = f"\ufdd2{secret}\ufdd3"
        self._marks = re.compile(rf"{self._mark}|\[img-(\d+)\]{self._seal}")
        self._placeholders = _placeholders(template, self._seal)

    @classmethod
    def for_template(cls, control_texts: Sequence[str], template: str | None) -> Guard:
        """A template that writes no control token, such as the bare prompt, leaves them to the client. `template`: its
        text, None for one that surely does."""
        if template is None:
            return cls(control_texts)
        signs = ("bos_token", "eos_token", *control_texts)
        return cls(control_texts if any(sign in template for sign in signs) else (), template)

    def text(self, text: str, *, is_trusted: bool = False) -> str:
        spelling = self._but_thoughts if is_trusted else self._any
        return spelling.sub(lambda match: match[0] + self._mark, text) if spelling else text

    def messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        if self._any is None:
            return messages
        return [self._message(message) for message in messages]

    def tools(self, tools: Sequence[Mapping[str, Any]] | None) -> Sequence[Mapping[str, Any]] | None:
        if self._any is None or not tools:
            return tools
        return [self._value(tool) for tool in tools]

    def tag(self, number: int) -> str:
        """The marker of an image, which no client can write."""
        return plain_tag(number) + self._seal

    def unmarked(self, prompt: str) -> Cut:
        """The prompt without marks, where they were, and where its images stand, whose markers are gone too."""
        if self._seal not in prompt:
            return self.shown(prompt)  # many times faster, and most prompts are long and without images
        if self._placeholders is not None:
            prompt = self._placeholders.sub(r"\1", prompt)
        pieces: list[str] = []
        cuts: list[int] = []
        images: dict[int, int] = {}
        size = end = 0
        for found in self._marks.finditer(prompt):
            pieces.append(prompt[end : found.start()])
            size += len(pieces[-1])
            end = found.end()
            if found[1] is None:
                cuts.append(size)
            else:  # a template may print one content twice
                images.setdefault(int(found[1]), size)
        return Cut("".join((*pieces, prompt[end:])), tuple(cuts), tuple(images.items()))

    def shown(self, prompt: str) -> Cut:
        """The same with the markers of images as its readers know them."""
        pieces = prompt.replace(self._seal, "").split(self._mark)
        return Cut("".join(pieces), tuple(itertools.accumulate(map(len, pieces[:-1]))))

    def _message(self, message: Message) -> Message:
        is_trusted = message.role in _TRUSTED_ROLES
        return msgspec.structs.replace(
            message,
            content=self.text(message.content, is_trusted=is_trusted),
            thinking=self.text(message.thinking, is_trusted=is_trusted),
            tool_name=self.text(message.tool_name),
            tool_calls=tuple(map(self._call, message.tool_calls)),
        )

    def _call(self, call: ToolCall) -> ToolCall:
        function = msgspec.structs.replace(
            call.function, name=self.text(call.function.name), arguments=self._value(call.function.arguments)
        )
        return msgspec.structs.replace(call, function=function)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self._value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        return value


def _placeholders(template: str, seal: str) -> re.Pattern[str] | None:
    """Finds the marker of an image together with the placeholders around it; None where a template has none."""
    printed = [text for text in PLACEHOLDERS if text in template]
    if not printed:
        return None
    holder, around = ("|".join(map(re.escape, texts)) for texts in (printed, BRACKETS))
    beside = rf"(?:(?:{around})?(?:{holder})+(?:{around})?)?"
    return re.compile(rf"{beside}(\[img-\d+\]{seal}){beside}")
