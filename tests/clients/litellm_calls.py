"""Calls of LiteLLM, in a process of their own: it keeps threads for ever, and every import of it takes seconds.

    python -m tests.clients.litellm_calls http://127.0.0.1:11434

One JSON object on standard output: what each dialect answered, by the name of the call.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import litellm

from tests.clients.answers import DIALECTS, WEATHER, asks


def calls(base: str, prefix: str) -> dict[str, Callable[[], Any]]:
    where = {"api_base": f"{base}/v1" if prefix == "openai" else base, "api_key": "puna", "max_tokens": 100}

    def ask(prompt: str, model: str = "m", **more: Any) -> Any:
        return litellm.completion(model=f"{prefix}/{model}", messages=asks(prompt), **where, **more)

    def tool() -> list[Any]:
        [call] = ask("TOOL", tools=[WEATHER]).choices[0].message.tool_calls
        return [call.function.name, json.loads(call.function.arguments)]

    def thought() -> list[str]:
        deltas = [part.choices[0].delta for part in ask("THINK", stream=True)]
        return [
            "".join(getattr(delta, name, None) or "" for delta in deltas) for name in ("reasoning_content", "content")
        ]

    return {
        "thought": thought,
        "whole": lambda: ask("SKY").choices[0].message.content,
        "counted": lambda: ask("SKY").usage.completion_tokens,
        "streamed": lambda: "".join(part.choices[0].delta.content or "" for part in ask("COUNT", stream=True)),
        "tool": tool,
        "missing": lambda: ask("SKY", model="nobody", max_retries=0),
    }


def result(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # the test wants to see whatever it is
        return f"{type(error).__name__}: {error}"


def main(base: str) -> None:
    answers = {prefix: {name: result(call) for name, call in calls(base, prefix).items()} for prefix in DIALECTS}
    sys.stdout.write(f"\n{json.dumps(answers)}\n")  # the last line; LiteLLM writes advice before it


if __name__ == "__main__":
    main(sys.argv[1])
