"""The starter model: installed once, and not against the user's will."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.messages.names import ModelName
from server.store import Store
from tests.store.gguf_builder import small_model

MODELFILE = 'FROM x\nSYSTEM Be kind.\nPARAMETER stop "<|end|>"\nPARAMETER temperature 0.2\nMESSAGE user hi\n'


@pytest.fixture
def starter(tmp_path: Path) -> Path:
    path = tmp_path / "resources" / "puna-starter.gguf"
    path.parent.mkdir()
    path.write_bytes(small_model().encoded())
    return path


def test_installed_once(store: Store, starter: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert store.install_builtin(starter, state, modelfile_text=MODELFILE)
    model = store.get(ModelName.parse("puna-starter"))
    assert (model.system, model.params) == ("Be kind.", {"stop": ["<|end|>"], "temperature": 0.2})
    assert model.messages[0].content == "hi"
    assert not store.install_builtin(starter, state, modelfile_text=MODELFILE)
    store.delete(model.name)
    assert starter.is_file()
    assert not store.install_builtin(starter, state, modelfile_text=MODELFILE)
    assert store.list() == []
    other = Store(tmp_path / "other")
    assert other.install_builtin(starter, state)
    assert [each.name.short for each in other.list()] == ["puna-starter:latest"]


def test_a_model_of_the_name_is_left_alone(store: Store, starter: Path, tmp_path: Path) -> None:
    store.install_builtin(starter, tmp_path / "one")
    digest = store.list()[0].digest
    assert not store.install_builtin(starter, tmp_path / "two", modelfile_text=MODELFILE)
    assert store.list()[0].digest == digest


def test_failures_are_only_logged(
    store: Store, starter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    assert not store.install_builtin(tmp_path / "gone.gguf", state)
    starter.write_bytes(b"nothing")
    assert not store.install_builtin(starter, state)
    assert "the starter model was not installed" in caplog.text
    assert not state.exists()
    starter.write_bytes(small_model().encoded())
    assert store.install_builtin(starter, state)
