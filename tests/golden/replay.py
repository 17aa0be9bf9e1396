"""Send the requests of a recording, and tell which answers differ."""

from __future__ import annotations

import base64
import json
import pathlib
import time
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.golden.comparison import Answer, Compare, Step, compare, with_time_left
from tests.golden.server import RunningServer, running_server

ANSWER_SECONDS = 120.0
PATIENCE = 5  # times the wait that the recording needed
_ALWAYS = ("content-type",)


@dataclass(frozen=True)
class Outcome:
    """`excused`: the recorded answer is one that a better server may change, and ours is not a breakdown."""

    name: str
    problems: list[str]
    excused: str = ""

    @property
    def passed(self) -> bool:
        return not self.problems

    @property
    def failed(self) -> bool:
        return bool(self.problems) and not self.excused


def _content(step: Step, models: pathlib.Path) -> bytes | None:
    if step["file"]:
        return (models / step["file"]).read_bytes()
    if step["raw"] is not None:
        return str(step["raw"]).encode()
    if step.get("b64") is not None:
        return base64.b64decode(step["b64"])
    return None if step["body"] is None else json.dumps(step["body"]).encode()


def send(client: httpx2.Client, server: RunningServer, step: Step, models: pathlib.Path) -> Answer:
    headers = {name: value.replace("{port}", str(server.port)) for name, value in step["headers"].items()}
    if step["body"] is not None:
        headers.setdefault("content-type", "application/json")
    content = _content(step, models)
    response = client.request(
        step["method"], server.base + step["path"], content=content, headers=headers, timeout=ANSWER_SECONDS
    )
    kept = {name: response.headers.get(name) for name in (*_ALWAYS, *step["headers_of_interest"])}
    text = response.text.replace(f":{server.port}", ":{port}").replace(str(server.home), "{home}")
    return {"status": response.status_code, "headers": kept, "text": with_time_left(text)}


def _outcome(
    client: httpx2.Client, server: RunningServer, exchange: dict[str, Any], models: pathlib.Path, compare: Compare
) -> Outcome:
    """A step that waited when it was recorded is asked again until it matches."""
    step, want = exchange["step"], exchange["response"]
    if step.get("pause"):
        server.wait(step["pause"])
    deadline = time.monotonic() + PATIENCE * (step.get("wait") or 0)
    while True:
        try:
            got = send(client, server, step, models)
            problems = compare(step, want, got)
        except (httpx2.HTTPError, ValueError, AttributeError, TypeError, LookupError) as error:
            got, problems = {"status": 599}, [repr(error)]
        if not problems or time.monotonic() >= deadline:
            break
        server.wait(0.1)
    may_differ = step.get("note") and (got["status"] < 500 or want["status"] >= 500)
    return Outcome(step["name"], problems, step["note"] if may_differ else "")


def replay(recording: pathlib.Path, models: pathlib.Path, compare: Compare = compare) -> list[Outcome]:
    """Every step of a recording against a server of its own. `compare` tells what may differ."""
    recorded = json.loads(recording.read_text("utf-8"))
    with running_server(recorded["env"]) as server, httpx2.Client(trust_env=False) as client:
        return [_outcome(client, server, exchange, models, compare) for exchange in recorded["exchanges"]]
