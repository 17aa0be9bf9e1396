"""What servers say, and who they are."""

from __future__ import annotations

import socket
from typing import Any

import msgspec
import pytest

from app.port import PortConflict, chosen_port, look_at_port, next_free_port, port_question
from app.wire import installed_of_tags, models_of_ps, models_of_status
from server.errors import PunaError
from tests.app.fakes import FakeServer, running

NOW = 1_700_000_000.0


def test_the_status_of_puna() -> None:
    model = running("a", active=1, tokens_per_second=3.5)
    status = {"state": "working", "models": [msgspec.to_builtins(model)], "of_the_future": 1}
    assert models_of_status(status) == (model,)


@pytest.mark.parametrize("status", [None, [], {}, {"models": [{"name": 7}]}])
def test_a_status_that_cannot_be_read_is_an_error_with_a_sentence(status: object) -> None:
    with pytest.raises(PunaError, match="cannot be understood"):
        models_of_status(status)


def test_the_list_of_ollama() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "a:latest", "size": 100, "size_vram": 60, "expires_at": "2023-11-14T22:15:20.123456789Z"},
        {"name": "b:latest", "expires_at": "2318-06-01T12:00:00.123456789-07:00", "context_length": 4096},
        {"name": "c:latest", "expires_at": "nonsense"},
        {"size": 1},
    ]
    first, second, third = models_of_ps(rows, NOW)
    assert (first.size_bytes, first.gpu_bytes, first.state) == (100, 60, "ready")
    assert first.expires_at == pytest.approx(NOW + 120, abs=1)
    assert (second.expires_at, second.keep_alive_seconds, second.context_tokens) == (None, -1.0, 4096)
    assert third.expires_at is None


def test_models_in_a_cloud_cannot_be_loaded_here() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "a", "size": 5},
        {"name": "b:cloud", "remote_host": "https://ollama.com"},
        {},
    ]
    assert [model.name for model in installed_of_tags(rows)] == ["a"]


@pytest.mark.parametrize("kind", ["puna", "ollama"])
def test_a_known_server_on_the_port_is_named_and_can_be_used(kind: str) -> None:
    fake = FakeServer(kind=kind)
    try:
        conflict = look_at_port("127.0.0.1", fake.port)
    finally:
        fake.close()
    assert conflict.kind == kind
    assert conflict.version == {"puna": "0.1.0", "ollama": "0.33.0"}[kind]
    assert conflict.url == fake.url
    assert port_question(conflict).use_running == "Use the running server"
    assert conflict.free_port > conflict.port


def test_any_other_program_is_not_offered_for_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        conflict = look_at_port("127.0.0.1", listener.getsockname()[1])
    question = port_question(conflict)
    assert conflict.kind == "other"
    assert question.use_running == ""
    assert question.use_port == f"Use port {conflict.free_port} instead"


def test_a_port_that_is_free_again_is_tried_again() -> None:
    conflict = PortConflict("none", "127.0.0.1", 11434, 11435)
    assert port_question(conflict).use_port == "Start on port 11434"
    assert chosen_port(conflict) == 11434


def test_the_words_name_the_program() -> None:
    known = port_question(PortConflict("other", "127.0.0.1", 11434, 11435, program="nginx", pid=4711))
    assert known.explanation.startswith("The program nginx (process 4711) listens on 127.0.0.1:11434")
    unknown = port_question(PortConflict("other", "", 11434))
    assert unknown.explanation.startswith("A program whose name the system does not tell listens on 0.0.0.0:11434")
    assert unknown.use_port == ""
    ollama = port_question(PortConflict("ollama", "::1", 11434, version="0.12.3", pid=7))
    assert "version 0.12.3, process 7) answers on [::1]:11434" in ollama.explanation


def test_the_next_free_port_skips_those_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert next_free_port("127.0.0.1", port - 1) > port
    assert next_free_port("127.0.0.1", 65535) == 0
