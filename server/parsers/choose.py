"""Which parser reads an answer, and which special tokens it needs to see."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from server.messages.chat import Message, Think, ToolCall
from server.parsers.base import NOTHING, AnswerParser, Chain, Forgiving, Parsed, PlainParser
from server.parsers.families import FAMILIES, Family, Opening
from server.parsers.families.opening import THINK_TAGS
from server.parsers.sections import SectionParser
from server.parsers.thinking import ThinkingParser
from server.parsers.tools import ToolCallParser

_LETTERS = string.ascii_lowercase + string.digits
Tools = Sequence[Mapping[str, Any]]


class Choice(Protocol):
    """What is known of the model's template."""

    @property
    def mode(self) -> str: ...
    @property
    def parser(self) -> str: ...
    @property
    def jinja_text(self) -> str: ...
    @property
    def thinking_tags(self) -> tuple[str, str] | None: ...
    @property
    def tool_tag(self) -> str: ...


class Reading(msgspec.Struct, frozen=True):
    """`visible`: special tokens whose text the parser needs."""

    parser: AnswerParser
    visible: tuple[str, ...]


# Words of a GGUF's template and the parser they tell, first match first. The second words decide between two names.
_MARKERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("<|channel|>", "<|message|>"), "harmony"),
    (("<|tool_call>", "<|channel>"), "gemma4"),
    (("<start_function_call>",), "functiongemma"),
    (("<function=", "<tool_call>", "<think>"), "qwen3.5"),
    (("<function=", "<tool_call>"), "qwen3-coder"),
    (("<arg_key>",), "glm-4.7"),
    (("<tool_call>", "<think>"), "qwen3-thinking"),
    (("<tool_call>",), "qwen3"),
    (("[TOOL_CALLS]", "[ARGS]"), "ministral"),
    (("[TOOL_CALLS]",), ""),
    (("<｜tool▁calls▁begin｜>", "```json"), "cogito"),
    (("<｜tool▁calls▁begin｜>",), "deepseek3"),
    (("<|START_ACTION|>",), "cohere"),
    (("<|tool_call_start|>", "<think>"), "lfm2-thinking"),
    (("<|tool_call_start|>",), "lfm2"),
    (("<function_calls>",), "olmo3"),
)
_NATIVE_TAGS = (("<tool_call>", "<tool_call>"), ("[TOOL_CALLS]", "[TOOL_CALLS]"))


def marked_parser(jinja_text: str) -> str:
    """The parser that the words of a GGUF's template tell; "" for the generic one."""
    return next((name for marks, name in _MARKERS if all(mark in jinja_text for mark in marks)), "")


def choose(
    choice: Choice,
    *,
    prompt: str,
    think: Think = None,
    tools: Tools = (),
    last: Message | None = None,
    make_id: Callable[[], str] | None = None,
) -> Reading:
    """The parser of one answer. `think` is resolved; `last` is the last message of the request; `prompt` is rendered.

    A built-in parser where one is named, or told by the words of the GGUF's template. Else what the Go template shows
    of thinking and calls. Thinking off leaves the tags of a Go template in the content, as its users know it.
    """
    is_native = choice.mode == "native"
    name = choice.parser if not is_native else marked_parser(choice.jinja_text)
    family = FAMILIES.get(name)
    if is_native and family and not tools and (not family.thinks or THINK_TAGS[1] in family.visible):
        family = None  # nothing to find but thoughts between the usual tags
    opening = Opening(think=think, tools=tuple(tools), last=last, prompt=prompt)
    if family:
        parser, visible = _of_family(family, opening, choice, is_native)
    else:
        parser, visible = _generic(choice, opening, is_native)
    return Reading(WithIds(parser, make_id or call_id), visible)


def _of_family(
    family: Family, opening: Opening, choice: Choice, is_native: bool
) -> tuple[AnswerParser, tuple[str, ...]]:
    uses_tags = THINK_TAGS[1] in family.visible or not family.thinks
    opens_by_tags = is_native and uses_tags and _shows_thinking(choice.jinja_text)
    if opens_by_tags:  # whether a thought has begun is seen in the prompt, not known of the family
        opening = msgspec.structs.replace(opening, think=False)
    started: AnswerParser = family.start(opening)
    if is_native and isinstance(started, SectionParser):
        started = started.keeping_text_end()  # as the engine's own parsers do, which clients of such models know
    parser: AnswerParser = Forgiving(started)
    visible = family.visible
    if opening.tools and not family.calls:
        tag = choice.tool_tag
        parser = Chain(parser, ToolCallParser(tag, opening.tools))
        visible += _visible_tag(tag)
    if opens_by_tags:
        parser = Chain(_thinking(THINK_TAGS, opening.prompt), parser)
        visible += THINK_TAGS
    return parser, visible


def _generic(choice: Choice, opening: Opening, is_native: bool) -> tuple[AnswerParser, tuple[str, ...]]:
    parser: AnswerParser = PlainParser()
    visible: tuple[str, ...] = ()
    if opening.tools:
        tag = _native_tag(choice.jinja_text) if is_native else choice.tool_tag
        parser = ToolCallParser(tag, opening.tools)
        visible = _visible_tag(tag)
    tags = choice.thinking_tags if opening.think else None
    if is_native:
        tags = THINK_TAGS if _shows_thinking(choice.jinja_text) else None
    if tags:
        parser = Chain(_thinking(tags, opening.prompt), parser)
        visible = (*tags, *visible)
    return parser, visible


def _shows_thinking(jinja_text: str) -> bool:
    return all(tag in jinja_text for tag in THINK_TAGS)


def _thinking(tags: tuple[str, str], prompt: str) -> ThinkingParser:
    return ThinkingParser(*tags, primed=prompt.rstrip().endswith(tags[0]))


def _native_tag(jinja_text: str) -> str:
    return next((tag for mark, tag in _NATIVE_TAGS if mark in jinja_text), "{")


def _visible_tag(tag: str) -> tuple[str, ...]:
    """The special token in a tag: up to the bracket that closes it."""
    if tag in ("{", "["):
        return ()
    end = tag.find({"[": "]", "<": ">"}.get(tag[0], "\0"))
    return (tag[: end + 1] if end >= 0 else tag,)


class WithIds:
    """Gives every call an id of its own."""

    def __init__(self, parser: AnswerParser, make_id: Callable[[], str]) -> None:
        self._parser = parser
        self._make_id = make_id

    def feed(self, text: str) -> Parsed:
        return self._named(self._parser.feed(text)) if text else NOTHING

    def flush(self) -> Parsed:
        return self._named(self._parser.flush())

    def _named(self, parsed: Parsed) -> Parsed:
        if not parsed.tool_calls:
            return parsed
        calls: tuple[ToolCall, ...] = tuple(
            msgspec.structs.replace(call, id=self._make_id()) for call in parsed.tool_calls
        )
        return Parsed(parsed.content, parsed.thinking, calls)


def call_id() -> str:
    """`call_` and eight letters or digits."""
    return "call_" + "".join(secrets.choice(_LETTERS) for _ in range(8))
