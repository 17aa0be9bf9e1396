"""Models made with the command line, and what they answer: adapters and quantized weights through the whole of Puna."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from server.client import Client, file_digest
from server.errors import PunaError
from tests.golden.server import RunningServer
from tests.serve.installed import server_with_models

SKY, COUNT = (
    "The sky is blue because of Rayleigh scattering.",
    "one, two, three, four, five, six, seven, eight, nine, ten",
)


@pytest.fixture(scope="module")
def server(models: pathlib.Path) -> Iterator[RunningServer]:
    """Every test of this module makes models of names of its own."""
    with server_with_models(models) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(server.base) as client:
        yield client


def puna(server: RunningServer, *args: str, modelfile: str = "") -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "OLLAMA_HOST": server.base, "HOME": str(server.home)}
    command = [sys.executable, "-m", "server.cli.main", *args]
    return subprocess.run(command, input=modelfile, capture_output=True, text=True, encoding="utf-8", env=environ,
                          timeout=120, check=False)  # fmt: skip


def said(client: Client, model: str, prompt: str) -> str:
    with client.generate({"model": model, "prompt": prompt, "raw": True, "stream": False}) as pieces:
        return "".join(piece["response"] for piece in pieces)


def test_an_adapter_changes_the_answer(server: RunningServer, client: Client, models: pathlib.Path) -> None:
    """The same weights without it answer as before, also when both have been loaded in turns."""
    made = puna(server, "create", "counting", "-f", "-", modelfile=f"FROM m\nADAPTER {models / 'counting.gguf'}\n")
    assert made.returncode == 0, made.stderr
    for _ in range(2):
        assert said(client, "counting", "SKY") == COUNT
        assert said(client, "counting", "STOPPY") == "alpha beta STOP gamma delta"
        assert said(client, "m", "SKY") == SKY


def test_an_adapter_of_another_base_is_refused(server: RunningServer, client: Client, models: pathlib.Path) -> None:
    made = puna(server, "create", "foreign", "-f", "-", modelfile=f"FROM m\nADAPTER {models / 'foreign.gguf'}\n")
    assert made.returncode == 1
    assert 'Error: "foreign.gguf" was made for another base: the sizes of output.weight differ' in made.stderr
    with pytest.raises(PunaError, match="not found"):
        client.show("foreign")


@pytest.mark.parametrize("level", ["q4_K_M", "q8_0"])
def test_quantized_weights_give_the_same_answers(
    server: RunningServer, client: Client, models: pathlib.Path, level: str
) -> None:
    """cli 35, model-store 95"""
    name = f"small-{level.lower()}"
    made = puna(server, "create", name, "-q", level, "-f", "-", modelfile=f"FROM {models / 'scripted.gguf'}\n")
    assert made.returncode == 0, made.stderr
    lines = made.stderr.splitlines()
    assert any(line.startswith(f"quantizing F16 model to {level.upper()}") for line in lines)
    assert lines[-1] == "success"
    assert client.show(name)["details"]["quantization_level"] == level.upper()
    assert said(client, name, "SKY") == SKY
    assert said(client, name, "COUNT") == COUNT


def test_quantizing_with_an_adapter_keeps_it(server: RunningServer, client: Client, models: pathlib.Path) -> None:
    file = f"FROM {models / 'scripted.gguf'}\nADAPTER {models / 'counting.gguf'}\n"
    made = puna(server, "create", "both", "-q", "q8_0", "-f", "-", modelfile=file)
    assert made.returncode == 0, made.stderr
    assert said(client, "both", "SKY") == COUNT


def test_the_server_itself_never_loads_llama_cpp(server: RunningServer) -> None:
    """What quantizes is a child that has ended by now."""
    parent = psutil.Process(server.process.pid)
    assert not [each.path for each in parent.memory_maps() if "llama" in pathlib.Path(each.path).name]
    assert not [child for child in parent.children(recursive=True) if "quantize" in child.cmdline()]


def test_a_shown_modelfile_makes_the_model_again(server: RunningServer, client: Client, models: pathlib.Path) -> None:
    """cli 30: weights, adapter, and texts that a Modelfile can hardly say."""
    system = 'Say "so"\u00a0:\n"""\nend \U0001f468\u200d\U0001f469'
    digest = file_digest(models / "counting.gguf")
    client.upload_blob(models / "counting.gguf", digest)
    body = {"model": "first", "from": "m", "adapters": {"a.gguf": digest}, "system": system,
            "parameters": {"stop": ["x y", '"""'], "temperature": 0.5}, "license": ["one", "two\nlines"],
            "messages": [{"role": "user", "content": 'a """\nb'}, {"role": "tool", "content": "c"}]}  # fmt: skip
    with client.create(body) as progress:
        assert list(progress)[-1] == {"status": "success"}
    shown = puna(server, "show", "first", "--modelfile")
    made = puna(server, "create", "second", "-f", "-", modelfile=shown.stdout)
    assert made.returncode == 0, made.stderr
    first, second = client.show("first"), client.show("second")
    for key in ("system", "parameters", "license", "details", "template"):
        assert {**first, "details": {**first["details"], "parent_model": ""}}[key] == second[key], key
    assert second["messages"] == first["messages"][:1]
    assert said(client, "second", "SKY") == COUNT


def test_a_loaded_model_can_be_deleted(client: Client, models: pathlib.Path) -> None:
    """model-store 110: its answer goes on to its end, and what it needed alone is freed."""
    weights = {"scripted.gguf": file_digest(models / "scripted.gguf")}
    with client.create({"model": "going", "files": weights, "quantize": "f32"}) as progress:
        assert list(progress)[-1] == {"status": "success"}
    body = {"model": "going", "prompt": "LOOP", "raw": True, "options": {"num_predict": 400}}
    with client.generate(body) as pieces:
        assert next(pieces)["response"]
        assert (client.delete("going") or 0) > (models / "scripted.gguf").stat().st_size
        *_, last = pieces
    assert (last["done_reason"], last["eval_count"]) == ("length", 400)
    with pytest.raises(PunaError, match="not found"):
        client.show("going")
