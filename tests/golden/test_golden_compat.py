"""The OpenAI and Anthropic routes against what the reference answered (all checks of compat-api that it covers).

`not_yet_compat.json` names steps that our server does not answer like the reference: `later` those that belong to
something not built yet, `ours` those where we differ on purpose. A step that is listed and passes fails the test.
"""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.golden.dialects import compare_dialect
from tests.golden.replay import replay

HERE = pathlib.Path(__file__).parent
RECORDINGS = sorted((HERE / "compat").glob("*.json"))
LISTED: dict[str, dict[str, dict[str, str]]] = json.loads((HERE / "not_yet_compat.json").read_text("utf-8"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_dialects_answer_like_the_reference(recording: pathlib.Path, models: pathlib.Path) -> None:
    listed = {name for kind in LISTED.values() for name in kind.get(recording.stem, {})}
    outcomes = replay(recording, models, compare_dialect)
    wrong = [f"{one.name}: {one.problems[0]}" for one in outcomes if one.failed and one.name not in listed]
    right = [one.name for one in outcomes if one.passed and one.name in listed]
    assert not wrong, f"{len(wrong)} of {len(outcomes)} steps differ:\n" + "\n".join(wrong)
    assert not right, "listed in not_yet_compat.json, but they pass; take them off:\n" + "\n".join(right)


def test_every_listed_step_of_the_dialects_exists() -> None:
    recorded = {path.stem: json.loads(path.read_text("utf-8"))["exchanges"] for path in RECORDINGS}
    names = {(stem, exchange["step"]["name"]) for stem, exchanges in recorded.items() for exchange in exchanges}
    listed = {(stem, name) for kind in LISTED.values() for stem, steps in kind.items() for name in steps}
    assert listed <= names
