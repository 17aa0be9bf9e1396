"""Tools of `/v1/messages`: those that the client describes, and those that Anthropic's models know by heart."""

from __future__ import annotations

import re
from typing import Any

from server.api.web_search import FUNCTION, MAX_SEARCHES, WEB_SEARCH, with_search
from server.api.wire_fields import Fields
from server.api.wire_tools import Tooling, chosen, function_tool

_DATED = re.compile(r"_\d{8}$")


def _schema(required: tuple[str, ...], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _text(description: str, *choices: str) -> dict[str, Any]:
    return {"type": "string", "description": description, **({"enum": list(choices)} if choices else {})}


_WHOLE = {"type": "integer"}
_EDITING: dict[str, dict[str, Any]] = {
    "path": _text("Path of the file or folder"),
    "file_text": _text("Content of a new file, for create"),
    "old_str": _text("Text to replace, for str_replace"),
    "new_str": _text("Text in its place, for str_replace"),
    "insert_line": {**_WHOLE, "description": "Line after which to insert, for insert"},
    "insert_text": _text("Text to insert, for insert"),
    "view_range": {"type": "array", "items": _WHOLE, "description": "First and last line, for view"},
}
# By the type without its date: tools that the client runs and that have a meaning without a description.
_KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "bash": (
        "Run a command in a shell that keeps its state",
        _schema((), command=_text("The command"), restart={"type": "boolean", "description": "Start the shell anew"}),
    ),
    "text_editor": (
        "View and edit text files",
        _schema(
            ("command", "path"),
            command=_text("What to do", "view", "create", "str_replace", "insert"),
            **_EDITING,
        ),
    ),
    "memory": (
        "Keep notes in files under /memories",
        _schema(
            ("command",),
            command=_text("What to do", "view", "create", "str_replace", "insert", "delete", "rename"),
            **_EDITING,
            old_path=_text("Path to rename, for rename"),
            new_path=_text("Its new path, for rename"),
        ),
    ),
}


def read_tooling(fields: Fields, *, can_search: bool = False) -> tuple[Tooling, int]:
    """`tools` and `tool_choice`, and how often the model may search the web. Of the tools that Anthropic's own servers
    run only the search is offered, where there is a search engine (`can_search`); nothing here runs the others."""
    wanted = fields.objects("tools")
    tools = [tool for tool in map(_tool, wanted) if tool is not None]
    searches = [_most_searches(tool) for tool in wanted if (tool.text("type") or "").startswith(WEB_SEARCH)]
    if can_search and searches:
        tools = with_search(tools)
    choice = fields.fields("tool_choice") or Fields({}, "tool_choice")
    kind = choice.text("type")
    tooling = chosen(tools, fields, named=choice if kind == "tool" else None, word=None if kind == "tool" else kind)
    most = min(searches, default=0) if any(tool is FUNCTION for tool in tooling.tools) else 0
    only_one = choice.flag("disable_parallel_tool_use") is True
    return Tooling(tooling.tools, tooling.must_call, only_one=only_one), most


def _most_searches(tool: Fields) -> int:
    most = tool.integer("max_uses")
    if most is not None and most < 1:
        raise tool.refuse("max_uses", f"'{tool.place('max_uses')}' must be at least 1.")
    return MAX_SEARCHES if most is None else min(most, MAX_SEARCHES)


def _tool(tool: Fields) -> dict[str, Any] | None:
    kind = tool.text("type") or "custom"
    name = tool.text("name")
    if kind != "custom":
        known = _KNOWN.get(_DATED.sub("", kind))
        return None if known is None else function_tool(name or _DATED.sub("", kind), *known)
    if not name:
        raise tool.refuse("name", f"'{tool.place('name')}' is missing.", "missing_required_parameter")
    return function_tool(name, tool.text("description"), tool.mapping("input_schema"))
