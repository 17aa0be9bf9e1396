"""Pictures for models whose eyes are inside the model's own file, through the server."""

from __future__ import annotations

import base64
import pathlib
from collections.abc import Iterator

import pytest

from server.client import Client, file_digest
from tests.foreign import old
from tests.foreign.gguf_files import File
from tests.foreign.test_foreign_answers import picture
from tests.golden.server import RunningServer, running_server

SEEING = ("gemma3", "qwen25vl", "qwen35", "gemma4", "mistral3")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Each family as one old file, and as `-new` with a projector beside it."""
    folder = tmp_path_factory.mktemp("pictures")
    with running_server({"OLLAMA_CONTEXT_LENGTH": "2048"}) as running, Client(running.base) as client:
        for name in SEEING:
            make_old, make_new, make_projector = old.FAMILIES[name]
            assert make_projector is not None
            _install(client, name, folder, **{f"{name}-old": make_old()})
            _install(client, f"{name}-new", folder, **{name: make_new(), f"{name}-mmproj": make_projector()})
        yield running


def _install(client: Client, name: str, folder: pathlib.Path, **files: File) -> None:
    digests = {}
    for stem, file in files.items():
        path = file.write(folder / f"{stem}.gguf")
        digests[path.name] = file_digest(path)
        client.upload_blob(path, digests[path.name])
    with client.create({"model": name, "files": digests, "template": "{{ .Prompt }}"}) as progress:
        assert list(progress)[-1] == {"status": "success"}


def look(client: Client, model: str, *images: bytes) -> list[tuple[str, float]]:
    """The text of each token, and how likely it was."""
    body = {
        "model": model,
        "prompt": "What is it?",
        "images": [base64.b64encode(image).decode() for image in images],
        "options": {"temperature": 0, "num_predict": 6, "seed": 1},
        "logprobs": True,
    }
    with client.generate(body) as chunks:
        return [(each["token"], each["logprob"]) for chunk in chunks for each in chunk.get("logprobs") or ()]


@pytest.mark.parametrize("name", SEEING)
def test_a_picture_is_seen(name: str, library: RunningServer) -> None:
    with Client(library.base) as client:
        assert "vision" in client.show(name)["capabilities"]
        found, expected = look(client, name, picture()), look(client, f"{name}-new", picture())
        assert [text for text, _ in found] == [text for text, _ in expected]
        assert [number for _, number in found] == pytest.approx([number for _, number in expected], abs=1e-4)
        assert found != look(client, name)
        sizes = {model["name"]: model["size"] for model in client.ps()}
        assert sizes[f"{name}:latest"] == pytest.approx(sizes[f"{name}-new:latest"], rel=0.01)
    assert not [path for path in library.home.rglob("puna-translated-*")]
