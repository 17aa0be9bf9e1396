"""Answers in sections: a thought, content, tool calls, each between tags of its own.

    lead      before a thought: one opening tag may still come
    either    before a thought, if the opening tag comes, or content
    thinking  up to the closing tag, or a call where calls end thoughts
    content   up to a call
    call      the body of a call, up to its closing tag
    noise     behind a call: tags that mean nothing there
    hidden    what nobody is to see, up to its closing tag

White space next to tags is dropped, wherever the text is cut; so it is held until something follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from server.messages.chat import Message, Think, ToolCall, ToolFunction
from server.parsers.base import NOTHING, BrokenCall, Parsed, StepParser, overlap

Call = tuple[str, dict[str, Any]]
State = Literal["lead", "either", "thinking", "content", "call", "noise", "hidden"]


class BadCall(Exception):
    """The body of a call cannot be read; the words say why."""


class Sections(msgspec.Struct, frozen=True, kw_only=True):
    """The tags of a family, and what it does with them.

    `read`: the calls in a body; raises BadCall. `opening`: a tag that may come before a thought, "" for none.
    `finish`: the calls in a body that has no end; raises BadCall, which ends the answer; none makes it content.
    `calls_end_thoughts`: a call inside an unclosed thought closes it. `trims_thinking`, `trims_content`: the white
    space before tags goes. `skips_lead`: white space in front of an answer goes too; `keeps_end`, `keeps_thought_end`:
    that at the end of the answer stays. `bare_tags` vanish from content, `hidden_tags` with all between them,
    `noise_tags` behind calls. `reopens`: a thought may come anywhere. `on_bad`: what becomes of a body
    that cannot be read: the end of the answer, its text as content, or nothing.
    """

    read: Callable[[str], list[Call]]
    call_tags: tuple[str, str]
    thinking_tags: tuple[str, str] = ("<think>", "</think>")
    opening: str = "<think>"
    calls_end_thoughts: bool = True
    trims_thinking: bool = True
    trims_content: bool = True
    skips_lead: bool = False
    keeps_end: bool = False
    keeps_thought_end: bool = False
    bare_tags: tuple[str, ...] = ()
    hidden_tags: tuple[str, str] | None = None
    noise_tags: tuple[str, ...] = ()
    reopens: bool = False
    shows_thinking: bool = True
    on_bad: Literal["error", "text", "skip"] = "error"
    finish: Callable[[str], list[Call]] | None = None


class SectionParser(StepParser):
    def __init__(self, sections: Sections, state: State = "content") -> None:
        super().__init__()
        self._sections = sections
        self._keeps_text_end = self._has_said = False
        self._state: State = state
        self._skips_space = sections.skips_lead and state == "content"
        self._body: list[str] = []  # of a call: what cannot hold its closing tag
        self._before_call = ""  # white space that is dropped unless the call turns out to be text
        self._calls_made = 0
        self._has_thought = False

    def keeping_text_end(self) -> SectionParser:
        """This parser, which leaves the white space between a text and the first call to the text."""
        self._keeps_text_end = True
        return self

    def flush(self) -> Parsed:
        """Raises BrokenCall."""
        self._raise()
        held, self._held = self._held, ""
        if self._state == "call":
            return self._unfinished(self._taken_body(held))
        if self._state in ("hidden", "noise"):
            return NOTHING
        if held and not self._skips_space:
            if self._state == "content" and self._sections.keeps_end:
                return Parsed(held)
            if self._state == "thinking" and self._sections.keeps_thought_end:
                return self._thought(held)
        text = held.rstrip() if self._trims() else held
        if not text.strip():
            return NOTHING
        if self._state == "lead" or (self._state == "thinking" and self._has_thought):
            return self._thought(text)
        return Parsed(text)  # before any thought, the lone beginning of a tag is content

    def _trims(self) -> bool:
        return self._sections.trims_content if self._state == "content" else self._sections.trims_thinking

    def _thought(self, text: str) -> Parsed:
        self._has_thought = True
        return Parsed(thinking=text) if self._sections.shows_thinking else NOTHING

    # ---- states; None: wait for more ----

    def _step(self) -> Parsed | None:
        match self._state:
            case "lead":
                return self._lead()
            case "either":
                return self._either()
            case "thinking":
                return self._thinking()
            case "content":
                return self._content()
            case "call":
                return self._call()
            case "noise":
                return self._noise()
            case "hidden":
                return self._hidden()

    def _lead(self) -> Parsed | None:
        opening, trimmed = self._sections.opening, self._held.lstrip()
        if trimmed.startswith(opening):
            self._held = trimmed[len(opening) :]
            self._skips_space = bool(opening)
        elif opening.startswith(trimmed):
            return None
        self._state = "thinking"
        self._skips_space = self._skips_space or self._sections.skips_lead
        return NOTHING

    def _either(self) -> Parsed | None:
        opening, trimmed = self._sections.opening, self._held.lstrip()
        if opening.startswith(trimmed) and trimmed != opening:
            return None
        if trimmed.startswith(opening):
            self._held = trimmed[len(opening) :]
            self._state, self._skips_space = "thinking", True
        else:
            self._state, self._skips_space = "content", self._sections.skips_lead
        return NOTHING

    def _thinking(self) -> Parsed | None:
        closing, call = self._sections.thinking_tags[1], self._sections.call_tags[0]
        tags = (call, closing) if self._sections.calls_end_thoughts else (closing,)
        text, tag = self._until(tags, self._sections.trims_thinking)
        if tag is None:
            return self._thought(text) if text else None
        self._state = "call" if tag == call else "content"
        self._skips_space = tag != call
        return self._thought(text) if text else NOTHING

    def _content(self) -> Parsed | None:
        sections = self._sections
        call, thought = sections.call_tags[0], sections.thinking_tags[0] if sections.reopens else ""
        hidden = sections.hidden_tags[0] if sections.hidden_tags else ""
        tags = [tag for tag in (call, hidden, thought, *sections.bare_tags) if tag]
        text, tag = self._until(tags, sections.trims_content, sections.bare_tags)
        if tag is None:
            return Parsed(text) if text else None
        if tag == call:
            self._state = "call"
        elif tag == thought:
            self._state = "lead"
        elif tag == hidden:
            self._state = "hidden"
        return Parsed(text)

    def _noise(self) -> Parsed | None:
        self._held = self._held.lstrip()
        for tag in self._sections.noise_tags:
            if self._held.startswith(tag):
                self._held = self._held[len(tag) :]
                return NOTHING
        if any(tag.startswith(self._held) for tag in self._sections.noise_tags):
            return None
        self._state, self._skips_space = "content", False
        return NOTHING

    def _hidden(self) -> Parsed | None:
        closing = self._sections.hidden_tags[1] if self._sections.hidden_tags else ""
        _, found, rest = self._held.partition(closing)
        if not found:
            self._held = self._held[len(self._held) - overlap(self._held, closing) :]
            return None
        self._state, self._held, self._skips_space = "content", rest, True
        return NOTHING

    def _call(self) -> Parsed | None:
        closing = self._sections.call_tags[1]
        at = self._held.find(closing)
        if at < 0:
            end = max(0, len(self._held) - len(closing) + 1)
            self._body.append(self._held[:end])
            self._held = self._held[end:]
            return None
        body = self._taken_body(self._held[:at])
        self._held = self._held[at + len(closing) :]
        self._state = "noise" if self._sections.noise_tags else "content"
        self._skips_space = self._sections.trims_content
        try:
            return self._numbered(self._sections.read(body))
        except BadCall as error:
            if self._sections.on_bad == "skip":
                return NOTHING
            self._skips_space = False
            written = self._before_call + self._sections.call_tags[0] + body + closing
            if self._sections.on_bad == "text":
                return Parsed(written)
            self._error = BrokenCall(str(error), written)
            return NOTHING

    def _taken_body(self, last: str) -> str:
        body = "".join((*self._body, last))
        self._body.clear()
        return body

    def _unfinished(self, body: str) -> Parsed:
        """At the end of the answer a whole body counts as a call, any other is text."""
        opening, closing = self._sections.call_tags
        whole = body[: len(body) - overlap(body, closing)]
        try:
            calls = (self._sections.finish or self._sections.read)(whole)
        except BadCall as error:
            if self._sections.finish:
                self._state = "content"
                raise BrokenCall(str(error), self._before_call + opening + body) from None
            calls = []
        return self._numbered(calls) if calls else Parsed(self._before_call + opening + body)

    def _numbered(self, calls: Iterable[Call]) -> Parsed:
        numbered: list[ToolCall] = []
        for name, arguments in calls:
            function = ToolFunction(name=name, arguments=arguments, index=self._calls_made)
            numbered.append(ToolCall(function=function))
            self._calls_made += 1
        return Parsed(tool_calls=tuple(numbered))

    def _until(self, tags: Sequence[str], trims: bool, bare: tuple[str, ...] = ()) -> tuple[str, str | None]:
        """Take the text before the first of the tags, and that tag; or what surely comes before one. White space in
        front of a bare tag stays."""
        if self._skips_space:
            self._held = self._held.lstrip()
            self._skips_space = not self._held
        held = self._held
        at, tag = min(((held.find(tag), tag) for tag in tags if tag in held), default=(-1, ""))
        end = at if at >= 0 else len(held) - max(overlap(held, tag) for tag in tags)
        if self._state == "content":
            self._has_said = self._has_said or bool(held[:end].strip())
            trims = trims and not (self._keeps_text_end and self._has_said and not self._calls_made)
        if at >= 0:
            self._held = held[at + len(tag) :]
            text = held[:at].rstrip() if trims and tag not in bare else held[:at]
            self._before_call = held[len(text) : at]
            return text, tag
        text = held[:end].rstrip() if trims else held[:end]
        self._held = held[len(text) :]
        return text, None


def is_begun(last: Message | None) -> bool:
    """Whether the answer continues content that the client wrote."""
    return last is not None and last.role == "assistant" and bool(last.content)


def thinks(think: Think, default: bool) -> bool:
    return default if think is None else bool(think)
