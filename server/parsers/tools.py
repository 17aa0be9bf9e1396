"""Tool calls of models that have no parser of their own: JSON behind the tag that the chat template shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from server.messages.chat import ToolCall, ToolFunction
from server.parsers import json_text
from server.parsers.base import NOTHING, Parsed, overlap

State = Literal["text", "calling", "after", "done"]
_TAGS = re.compile(r"([<\[])([^/<>\[\]|]+)([>\]])")
_SEPARATORS = " \t\r\n,;]`"


def function_names(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the tools of a request."""
    functions = [tool.get("function") for tool in tools]
    return [str(one["name"]) for one in functions if isinstance(one, Mapping) and one.get("name")]


class ToolCallParser:
    """Finds calls of declared tools behind `tag`; the first character of the answer if the tag is `{` or `[`.

    text     before a tag: everything but the beginning of a tag is content
    calling  behind a tag: waits for whole objects; what turns out to be none is returned at the end
    after    behind a call: separators, closing tags, further calls, or text again
    done     everything is content
    """

    def __init__(self, tag: str, tools: Sequence[Mapping[str, Any]]) -> None:
        self._tag = tag
        self._is_json = tag in ("{", "[")
        match = _TAGS.fullmatch(tag)
        self._closing = f"{match[1]}/{match[2]}{match[3]}" if match else ""
        self._names = frozenset(function_names(tools))
        longest_first = sorted(map(re.escape, self._names), key=len, reverse=True)
        self._name = re.compile(rf"(?<![\w.-])(?:{'|'.join(longest_first)})(?![\w.-])") if longest_first else None
        self._state: State = "text"
        self._held = ""
        self._behind = 0  # where the text before the next object begins
        self._scanner = json_text.ObjectScanner()
        self._made = 0

    def feed(self, text: str) -> Parsed:
        if self._state == "done":
            return Parsed(text) if text else NOTHING
        self._held += text
        result = NOTHING
        progress: Parsed | None = NOTHING
        while progress is not None and self._held:
            match self._state:
                case "text":
                    progress = self._text()
                case "calling":
                    progress = self._calling()
                case "after":
                    progress = self._after()
                case "done":
                    progress = Parsed(self._held)
                    self._held = ""
            if progress:
                result += progress
        return result

    def flush(self) -> Parsed:
        held, self._held = self._held, ""
        if not self._made:
            return Parsed(held)
        is_prose = self._state == "text" and held.strip()
        is_broken = self._state == "calling" and self._scanner.is_open
        return Parsed(held) if is_prose or is_broken else NOTHING

    def _text(self) -> Parsed | None:
        """Content up to the tag. None: wait for more."""
        at = self._held.find(self._tag)
        end = at if at >= 0 else len(self._held) - overlap(self._held, self._tag)
        content = self._held[:end]
        if self._is_json and content.strip():
            self._state = "done"
            return NOTHING
        if self._made and not content.strip():
            if at < 0:
                return None
            content = ""
        self._held = self._held[end:]
        if at >= 0:
            self._open(0 if self._tag == "{" else len(self._tag))
        return Parsed(content) if content or at >= 0 else None

    def _open(self, behind: int) -> None:
        """Wait for objects; the first `behind` characters of what is held are the tag."""
        self._state = "calling"
        self._behind = behind
        self._scanner = json_text.ObjectScanner(behind)

    def _calling(self) -> Parsed | None:
        end = self._scanner.scan(self._held)
        if self._is_json and not self._made:
            before = self._held[self._behind : self._scanner.start if self._scanner.start >= 0 else None]
            if before.strip():
                self._state = "done"
                return NOTHING
        if end < 0:
            return None
        before = self._held[self._behind : self._scanner.start]
        calls = tuple(self._calls(before, self._held[self._scanner.start : end]))
        if calls:
            self._held = self._held[end:]
            self._state = "after"
            return Parsed(tool_calls=calls)
        self._behind = end
        if self._is_json:
            self._state = "after" if self._made else "done"
            self._held = self._held[end:] if self._made else self._held
        return NOTHING

    def _after(self) -> Parsed | None:
        rest = self._held.lstrip(_SEPARATORS)
        while self._closing and rest.startswith(self._closing):
            rest = rest[len(self._closing) :].lstrip(_SEPARATORS)
        self._held = rest
        if self._may_go_on(rest):
            return None
        if rest.startswith("{") or self._begins_call(rest):
            self._open(0)
        elif not self._is_json and rest.startswith(self._tag):
            self._open(len(self._tag))
        else:
            self._state = "done" if self._is_json else "text"
        return NOTHING

    def _may_go_on(self, text: str) -> bool:
        """Whether more text may still make a tag or a call of it."""
        if not text or any(name.startswith(text) for name in self._names):
            return True
        if not self._is_json and text != self._tag and (self._tag.startswith(text) or self._closing.startswith(text)):
            return True
        match = self._name.match(text) if self._name else None
        return match is not None and not text[match.end() :].strip()

    def _begins_call(self, text: str) -> bool:
        """Whether a declared name stands here, with an object behind it."""
        match = self._name.match(text) if self._name else None
        return match is not None and text[match.end() :].lstrip().startswith("{")

    def _calls(self, before: str, text: str) -> Iterator[ToolCall]:
        try:
            value = json_text.read(text)
        except ValueError:
            return
        found = list(self._search(value))
        if not found and not _names_a_tool(value) and self._name and (match := self._name.search(before)):
            found = [(match[0], value)]
        for name, arguments in found:
            yield ToolCall(function=ToolFunction(name=name, arguments=arguments, index=self._made))
            self._made += 1

    def _search(self, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and arguments of the calls in an object: `name` with `arguments` or `parameters`, the name as a key,
        or such an object within."""
        if isinstance(value, list):
            for item in value:
                yield from self._search(item)
            return
        if not isinstance(value, dict):
            return
        if _names_a_tool(value):
            name = value["name"] if isinstance(value.get("name"), str) else value["tool_name"]
            given = value.get("arguments", value.get("parameters"))
            arguments = {} if given is None else json_text.read_object(given)
            if name in self._names and arguments is not None:
                yield name, arguments
            return
        for key, item in value.items():
            arguments = json_text.read_object(item) if key in self._names else None
            if arguments is not None:
                yield key, arguments
            elif isinstance(item, (dict, list)):
                yield from self._search(item)


def _names_a_tool(value: Any) -> bool:
    return isinstance(value, dict) and (isinstance(value.get("name"), str) or isinstance(value.get("tool_name"), str))
