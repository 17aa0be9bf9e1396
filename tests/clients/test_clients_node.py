"""Libraries from npm, unmodified (compat-api 346 in another language). Without Node.js there is nothing to try."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
from typing import Any

import pytest

from tests.clients.answers import CITY, CONCLUSION, COUNT, SKY, THOUGHT
from tests.golden.server import RunningServer

SOURCES = pathlib.Path(__file__).parent / "node"
INSTALL_SECONDS, CALL_SECONDS = 180, 120
PERSON = {"name": "Ada", "age": 36, "tags": ["x", "y"]}

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="Node.js and npm are not installed"
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The calls next to the libraries that the lock file names."""
    folder = tmp_path_factory.mktemp("node") / "calls"
    shutil.copytree(SOURCES, folder)
    _run([_npm(), "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"], folder, INSTALL_SECONDS)
    return folder


def _npm() -> str:
    return shutil.which("npm") or "npm"


def _run(command: list[str], folder: pathlib.Path, seconds: float) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _answers(programs: pathlib.Path, name: str, server: RunningServer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_run(["node", name, server.base], programs, CALL_SECONDS).splitlines()[-1])
    return found


@pytest.mark.timeout(360)
def test_ollama(programs: pathlib.Path, server: RunningServer) -> None:
    found = _answers(programs, "ollama_calls.mjs", server)
    assert (found["whole"], found["generated"], found["streamed"]) == (SKY, SKY, COUNT)
    assert found["tool"]["name"] == "get_weather"
    assert found["tool"]["arguments"] == CITY
    assert found["streamedTools"] == ["add", "get_time"]
    assert found["thought"] == [THOUGHT, CONCLUSION]
    assert found["json"] == PERSON
    assert found["firstOfEndless"] == "again"
    assert len(set(found["widths"])) == 1
    assert {"m:latest", "bare:latest", "e:latest"} <= set(found["models"])
    assert found["family"] == "llama"
    assert "model 'nobody' not found" in found["missing"]


@pytest.mark.timeout(360)
def test_openai(programs: pathlib.Path, server: RunningServer) -> None:
    """compat-api 64, 204, 265"""
    found = _answers(programs, "openai_calls.mjs", server)
    assert (found["whole"], found["streamed"], found["completion"]) == (SKY, COUNT, SKY)
    assert found["usage"]["total_tokens"] > found["usage"]["completion_tokens"] > 0
    assert found["tool"] == ["tool_calls", "get_weather", CITY]
    assert found["streamedTool"] == ["get_weather", CITY]
    assert found["json"] == PERSON
    assert (found["response"], found["continued"], found["responseStream"]) == (SKY, COUNT, COUNT)
    assert found["finalResponse"] == "completed"
    assert found["distance"] < 1e-6
    assert {"m:latest", "bare:latest", "e:latest"} <= set(found["models"])
    assert found["model"] == "m"
    assert found["missing"] == ["NotFoundError", "404 model 'nobody' not found"]
