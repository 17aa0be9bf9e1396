"""The recorded outputs of models, and how to feed them."""

from __future__ import annotations

import itertools
import json
import pathlib
from collections.abc import Callable
from typing import Any

from server.errors import InvalidAnswer
from server.messages.chat import Message
from server.parsers import AnswerParser, Parsed

DATA: dict[str, Any] = json.loads((pathlib.Path(__file__).parent / "data" / "parsers.json").read_text())
CASES: list[dict[str, Any]] = DATA["cases"]

Result = dict[str, Any]


def tools_of(case: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple(DATA["toolsets"][case["tools"]]) if "tools" in case else ()


def last_of(case: dict[str, Any]) -> Message | None:
    last = case.get("last")
    if last is None:
        return None
    return Message(role=last["role"], content=last.get("content", ""), thinking=last.get("thinking", ""))


def cuttings(case: dict[str, Any]) -> list[list[str]]:
    """The text whole, letter by letter, and cut as recorded."""
    text: str = case["text"]
    pieces = [[text], list(text)]
    for cuts in case["cuts"]:
        bounds = [0, *cuts, len(text)]
        pieces.append([text[start:end] for start, end in itertools.pairwise(bounds)])
    return pieces


def fed(parser: AnswerParser, pieces: list[str]) -> Result:
    """What a parser gives for the pieces, in the form of the recordings."""
    parsed = Parsed()
    try:
        for piece in pieces:
            parsed += parser.feed(piece)
        parsed += parser.flush()
    except InvalidAnswer as error:
        before = as_result(parsed)
        return {"error": str(error), **({"before": before} if before else {})}
    assert [call.function.index for call in parsed.tool_calls] == list(range(len(parsed.tool_calls)))
    return as_result(parsed)


def as_result(parsed: Parsed) -> Result:
    result: Result = {}
    if parsed.content:
        result["content"] = parsed.content
    if parsed.thinking:
        result["thinking"] = parsed.thinking
    if parsed.tool_calls:
        result["calls"] = [
            {
                **({"id": call.id} if call.id else {}),
                "name": call.function.name,
                "arguments": call.function.arguments,
            }
            for call in parsed.tool_calls
        ]
    return result


def results(case: dict[str, Any], start: Callable[[], AnswerParser]) -> Result:
    """The one result of all cuttings."""
    first, *others = [fed(start(), pieces) for pieces in cuttings(case)]
    for other in others:
        assert other == first, case["id"]
    return first


def is_free(case: dict[str, Any]) -> bool:
    """Whether the recording says that something else would be better, without saying what."""
    return "note" in case and "better" not in case


def is_same(got: Result, case: dict[str, Any]) -> bool:
    expected = case.get("better", case["result"])
    if "error" in expected:
        return "error" in got and got.get("before", {}) == expected.get("before", {})
    return bool(got == expected)


def keys_of(result: Result) -> list[list[str]]:
    return [list(call["arguments"]) for call in result.get("calls", ())]
