"""The native API against what the reference answered (all checks of native-api that a recording covers).

`not_yet.json` names steps that our server does not answer like the reference: `later` those that belong to something
not built yet, `ours` those where we differ on purpose. A step that is listed and passes fails the test, so the lists
only hold what is true.
"""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.golden.replay import replay

HERE = pathlib.Path(__file__).parent
RECORDINGS = sorted((HERE / "native").glob("*.json"))
# Which steps cover the checks of native-api that no other test names: the recording, then its steps.
COVERED: dict[str, tuple[str, ...]] = {
    "69, 70": ("names", "two sources in one name", "chat in the cloud", "generate in the cloud by tag"),
    "76": ("names", "unload of an unknown model", "unload of an unknown model by chat"),
    "79": ("keep_alive", "zero with a prompt answers first", "ps: gone after the answer"),
    "81": ("keep_alive", "a request without keep_alive", "ps: still 90 minutes"),
    "94": ("keep_alive", "ps: one entry under the first name", "unload by the twin", "ps: gone under both names"),
    "112": ("options", "options of the model", "an empty stop list switches the stored one off"),
    "123, 125": ("generate", "raw answer has no context", "raw with an empty context"),
    "124": ("generate", "raw with system", "raw with template", "raw with context"),
    "127": ("generate", "template of the request, rendered only"),
    "128": ("generate", "render with the system of the model", "render with a system of the request"),
    "133, 135": ("templates", "suffix, rendered only", "suffix, streamed", "suffix without a prompt"),
    "134": ("generate", "suffix on a model without a slot for it", "suffix with raw is checked too"),
    "136, 180 to 182": (
        "embed", "generate on an embedding model", "chat on an embedding model",
        "chat with tools on an embedding model", "chat with thinking on an embedding model",
    ),
    "141, 142": (
        "thinking", "generate thinks by default", "generate thinks by default, streamed", "generate, thinking false"
    ),
    "149": ("types", "top_logprobs above 20 comes before the name", "chat top_logprobs below 0"),
    "153": ("logprobs", "top_logprobs alone has no effect"),
    "161, 162": ("window", "a prompt cut in the middle", "a prompt too long with shift off"),
    "163, 164": ("window", "150 tokens in a context of 50", "150 tokens in a context of 50 with 20 kept"),
    "174, 175": (
        "chat", "system and messages of the model", "a system message replaces that of the model",
        "a later system message does not",
    ),
    "178": ("window", "a single message too long is cut", "a single message too long with shift off"),
    "183, 184": ("chat", "tools on a model that cannot", "no tools on a model that cannot"),
    "197": ("tools", "history with a call and its result", "history with a call and its result, rendered only"),
    "198, 199": ("tools", "text before a call", "text before a call, streamed", "two calls, streamed"),
    "201": ("thinking", "thinking false leaves the tags in the text"),
    "242, 243": ("inventory", "ps of one model"),
    "253": ("inventory", "show with another template is ignored"),
    "257, 258": ("templates", "show trip", "show insert"),
}  # fmt: skip
LISTED: dict[str, dict[str, dict[str, str]]] = json.loads((HERE / "not_yet.json").read_text("utf-8"))


def _reasons(name: str) -> dict[str, str]:
    """Steps of a recording that may fail, with the reason."""
    return {**LISTED["later"].get(name, {}), **LISTED["ours"].get(name, {})}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_answers_are_those_of_the_reference(recording: pathlib.Path, models: pathlib.Path) -> None:
    reasons = _reasons(recording.stem)
    outcomes = replay(recording, models)
    wrong = [
        f"{outcome.name}: {outcome.problems[0]}"
        for outcome in outcomes
        if outcome.failed and outcome.name not in reasons
    ]
    right = [outcome.name for outcome in outcomes if outcome.passed and outcome.name in reasons]
    assert not wrong, f"{len(wrong)} of {len(outcomes)} steps differ:\n" + "\n".join(wrong)
    assert not right, "listed in not_yet.json, but they pass; take them off:\n" + "\n".join(right)


def test_every_covered_step_counts() -> None:
    """It is there, and its answer may not differ."""
    for stem, *names in COVERED.values():
        exchanges = json.loads((HERE / "native" / f"{stem}.json").read_text("utf-8"))["exchanges"]
        strict = {exchange["step"]["name"] for exchange in exchanges if not exchange["step"]["note"]}
        assert set(names) <= strict - set(_reasons(stem))


def test_every_listed_step_exists() -> None:
    recorded = {path.stem: json.loads(path.read_text("utf-8"))["exchanges"] for path in RECORDINGS}
    names = {(stem, exchange["step"]["name"]) for stem, exchanges in recorded.items() for exchange in exchanges}
    listed = {(stem, name) for kind in LISTED.values() for stem, steps in kind.items() for name in steps}
    assert listed <= names
