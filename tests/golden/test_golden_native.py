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


def test_every_listed_step_exists() -> None:
    recorded = {path.stem: json.loads(path.read_text("utf-8"))["exchanges"] for path in RECORDINGS}
    names = {(stem, exchange["step"]["name"]) for stem, exchanges in recorded.items() for exchange in exchanges}
    listed = {(stem, name) for kind in LISTED.values() for stem, steps in kind.items() for name in steps}
    assert listed <= names
