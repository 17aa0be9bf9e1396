"""LiteLLM, unmodified, over each of the three dialects (compat-api 351)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.clients.answers import CITY, CONCLUSION, COUNT, DIALECTS, SKY, THOUGHT
from tests.golden.server import RunningServer

Answers = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def answers(server: RunningServer) -> Answers:
    done = subprocess.run(
        [sys.executable, "-m", "tests.clients.litellm_calls", server.base],
        # Otherwise it fetches a table of prices from the internet before the first call.
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    found: Answers = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
def test_chats(answers: Answers, dialect: str) -> None:
    assert answers[dialect]["whole"] == SKY
    assert answers[dialect]["streamed"] == COUNT
    assert answers[dialect]["counted"] == 8  # seven words and the end


@pytest.mark.parametrize("dialect", DIALECTS)
def test_tools(answers: Answers, dialect: str) -> None:
    assert answers[dialect]["tool"] == ["get_weather", CITY]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_thoughts_come_once(answers: Answers, dialect: str) -> None:
    """compat-api 351"""
    assert [text.strip() for text in answers[dialect]["thought"]] == [THOUGHT, CONCLUSION]


def test_a_missing_model_is_told(answers: Answers) -> None:
    for dialect in DIALECTS:
        assert "nobody" in answers[dialect]["missing"], dialect
        assert "not found" in answers[dialect]["missing"], dialect
    assert answers["openai"]["missing"].startswith("NotFoundError")
    assert answers["anthropic"]["missing"].startswith("NotFoundError")
