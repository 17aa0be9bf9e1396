"""A folder of models that Ollama pulled, and a server that runs them."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from server.client import Client, file_digest
from server.errors import PunaError
from tests.foreign import old, stock
from tests.foreign.gguf_files import File
from tests.golden.server import RunningServer, running_server

RUN = ("gptoss", "gemma3", "gemma3-embedding", "qwen25vl", "qwen35", "gemma4")
PROMPT = "Some text to go on with, and more of it."


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Each family in both forms, under its name and as its name with `-new`."""
    folder = tmp_path_factory.mktemp("library")
    with running_server({"OLLAMA_CONTEXT_LENGTH": "512"}) as running, Client(running.base) as client:
        for name in RUN:
            make_old, make_new, _ = old.FAMILIES[name]
            _install(client, name, make_old(), folder)
            _install(client, f"{name}-new", make_new(), folder)
        for name in ("gptoss", "gptoss-new"):
            _install(client, f"tuned-{name}", _adapter(), folder, base=name)
        _install(client, "broken", _without_experts(), folder)
        _install(client, "misshapen", _with_a_wrong_shape(), folder)
        yield running


@pytest.fixture
def client(library: RunningServer) -> Iterator[Client]:
    with Client(library.base) as client:
        yield client


def _install(client: Client, name: str, file: File, folder: pathlib.Path, base: str = "") -> None:
    """`base`: the file is an adapter for this model."""
    path = file.write(folder / f"{name}.gguf")
    digest = file_digest(path)
    client.upload_blob(path, digest)
    files = {path.name: digest}
    with client.create(
        {"model": name, **({"from": base, "adapters": files} if base else {"files": files})}
    ) as progress:
        assert list(progress)[-1] == {"status": "success"}


def _adapter() -> File:
    """For gpt-oss, under the names that llama.cpp has."""
    keys = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 2.0}
    name, draw = "blk.1.attn_output.weight", np.random.default_rng(9)
    pair = {f"{name}.lora_a": (2, stock.WIDTH), f"{name}.lora_b": (stock.WIDTH, 2)}
    return File("gpt-oss", keys, {name: draw.normal(0, 1, shape).astype(np.float32) for name, shape in pair.items()})


def _without_experts() -> File:
    whole = old.gptoss()
    return File("gptoss", whole.keys, {name: data for name, data in whole.tensors.items() if "gate_exps" not in name})


def _with_a_wrong_shape() -> File:
    whole, name = old.gptoss(), "blk.1.attn_q.weight"
    return File("gptoss", whole.keys, {**whole.tensors, name: whole.tensors[name][:-1]})


def answer(client: Client, model: str, **more: Any) -> list[tuple[str, float]]:
    """The text of each token, and how likely it was."""
    options = {"temperature": 0, "num_predict": 8, "seed": 1}
    body = {"model": model, "prompt": PROMPT, "raw": True, "logprobs": True, "options": options, **more}
    with client.generate(body) as chunks:
        return [(each["token"], each["logprob"]) for chunk in chunks for each in chunk.get("logprobs") or ()]


@pytest.mark.parametrize("name", [name for name in RUN if name != "gemma3-embedding"])
def test_it_answers_as_the_file_that_llama_cpp_wants(client: Client, name: str) -> None:
    """model-store 109"""
    found, expected = answer(client, name), answer(client, f"{name}-new")
    assert [text for text, _ in found] == [text for text, _ in expected]
    # A prompt that is found in the cache is computed in another batch, which rounds otherwise.
    assert [number for _, number in found] == pytest.approx([number for _, number in expected], abs=1e-4)
    assert len(found) > 3


def test_an_adapter_fits_the_model_as_llama_cpp_sees_it(client: Client) -> None:
    found, expected = answer(client, "tuned-gptoss"), answer(client, "tuned-gptoss-new")
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [number for _, number in found] == pytest.approx([number for _, number in expected], abs=1e-4)
    assert found != answer(client, "gptoss")


def test_vectors(client: Client) -> None:
    found = [client.embed({"model": name, "input": PROMPT}) for name in ("gemma3-embedding", "gemma3-embedding-new")]
    assert found[0]["embeddings"] == found[1]["embeddings"]


def test_what_is_shown_is_the_file(client: Client) -> None:
    """Its own names, and that it can see."""
    shown = client.show("gemma3")
    assert shown["details"]["family"] == "gemma3"
    assert "vision" in shown["capabilities"]
    assert any(tensor["name"].startswith("v.blk.") for tensor in shown["tensors"])
    assert "audio" not in client.show("gemma4")["capabilities"]  # what hears is left out
    assert client.show("gptoss")["model_info"]["general.architecture"] == "gptoss"


def test_one_that_lacks_a_part_is_refused_in_words(client: Client) -> None:
    with pytest.raises(PunaError, match=r"another engine.*blk.0.ffn_gate_exps.weight is missing"):
        answer(client, "broken")


def test_one_that_llama_cpp_refuses_ends_nothing_but_its_request(client: Client) -> None:
    with pytest.raises(PunaError, match=r"could not be loaded.*attn_q\.weight"):
        answer(client, "misshapen")
    assert answer(client, "gptoss")
