"""Tools of `/v1/responses`: functions, groups of them, and tools whose input is free text."""

from __future__ import annotations

import logging
from typing import Any, Literal

import msgspec

from server.api.web_search import FUNCTION, WEB_SEARCH, with_search
from server.api.wire_fields import Fields
from server.api.wire_tools import Tooling, chosen, function_tool, only_named

log = logging.getLogger(__name__)

INPUT = "input"  # the one argument of a tool with free text


class Declared(msgspec.Struct, frozen=True):
    """A tool as the client knows it. `namespace` is the group that it stands in."""

    kind: Literal["function", "custom"]
    name: str
    namespace: str = ""


class Offer(msgspec.Struct, frozen=True):
    """What the model may call, and what each name that it knows means to the client. `searches`: it may search the
    web, which the server does for it."""

    tooling: Tooling
    declared: dict[str, Declared] = {}
    echo: tuple[dict[str, Any], ...] = ()
    searches: bool = False

    def meant_by(self, name: str) -> Declared:
        return self.declared.get(name, Declared("function", name))


def qualified(name: str, namespace: str) -> str:
    """A member of a group as the model sees it; some are declared in that form already."""
    return name if not namespace or name.startswith(f"{namespace}.") else f"{namespace}.{name}"


def read_offer(fields: Fields, *, can_search: bool = False) -> Offer:
    """`can_search`: there is a search engine to offer to the model where the client wants that."""
    tools: list[dict[str, Any]] = []
    declared: dict[str, Declared] = {}
    wanted = fields.objects("tools")
    echo = [_declare(tool, "", tools, declared, can_search) for tool in wanted]
    if can_search and any(_is_search(tool) for tool in wanted):
        tools = with_search(tools)
        declared.pop(WEB_SEARCH, None)
    tooling = _chosen(fields, tools)
    searches = any(tool is FUNCTION for tool in tooling.tools)
    one = fields.flag("parallel_tool_calls") is False or fields.integer("max_tool_calls") == 1
    return Offer(Tooling(tooling.tools, tooling.must_call, only_one=one), declared, tuple(echo), searches)


def _is_search(tool: Fields) -> bool:
    """`web_search` and `web_search_preview`, with and without a date."""
    return (tool.text("type") or "").startswith(WEB_SEARCH)


def _declare(
    tool: Fields, namespace: str, tools: list[dict[str, Any]], declared: dict[str, Declared], can_search: bool
) -> dict[str, Any]:
    """Note a tool and return how the answer repeats it. Tools that a service would run are not offered."""
    kind = tool.text("type") or "function"
    if kind == "namespace":
        group = qualified(_name(tool), namespace)
        members = [_declare(member, group, tools, declared, can_search) for member in tool.objects("tools")]
        return {**_repeated(tool), "tools": members}
    if kind == "function":
        name = qualified(_name(tool), namespace)
        tools.append(function_tool(name, tool.text("description"), tool.mapping("parameters")))
        declared[name] = Declared("function", _name(tool), namespace)
        return _repeated(tool)
    if kind == "custom":
        name = qualified(_name(tool), namespace)
        tools.append(_custom(tool, name))
        declared[name] = Declared("custom", _name(tool), namespace)
    elif not (can_search and _is_search(tool)):
        log.info("a tool of the type %s is not offered to the model: nothing here runs it", kind)
    return tool.members


def _name(tool: Fields) -> str:
    name = tool.text("name")
    if not name:
        raise tool.refuse("name", f"'{tool.place('name')}' is missing.", "missing_required_parameter")
    return name


def _repeated(tool: Fields) -> dict[str, Any]:
    known = ("description", "strict", "parameters")
    return {"type": tool.text("type") or "function", "name": tool.text("name"), **{k: tool.get(k) for k in known}}


def _custom(tool: Fields, name: str) -> dict[str, Any]:
    """A tool with free text becomes a function of one string; a grammar for it can only be described."""
    description = tool.text("description") or ""
    form = tool.fields("format")
    if form is not None and form.text("definition"):
        description = f"{description}\nThe input follows this grammar:\n{form.text('definition')}".strip()
    parameters = {"type": "object", "required": [INPUT], "properties": {INPUT: {"type": "string"}}}
    return function_tool(name, description or None, parameters)


def _chosen(fields: Fields, tools: list[dict[str, Any]]) -> Tooling:
    choice = fields.get("tool_choice")
    if not isinstance(choice, dict):
        return chosen(tools, fields, named=None, word=fields.text("tool_choice"))
    wanted = Fields(choice, "tool_choice")
    kind = wanted.text("type")
    if kind == "allowed_tools":
        names = [tool.text("name") or "" for tool in wanted.objects("tools") if tool.text("name")]
        return Tooling(only_named(tools, names, "tool_choice"), must_call=wanted.text("mode") == "required")
    if kind in ("function", "custom"):
        return chosen(tools, fields, named=wanted, word=None)
    if _is_search(wanted) and any(tool is FUNCTION for tool in tools):
        return Tooling((FUNCTION,), must_call=True)
    return Tooling(tuple(tools))  # a tool that a service would run
