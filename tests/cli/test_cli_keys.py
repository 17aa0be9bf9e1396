"""`puna keys` against a server that answers from a script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.cli.main import main
from tests.client.fake_server import FakeServer, failing, ok

OLD = "2020-01-01T10:00:00Z"


@pytest.fixture(autouse=True)
def here(fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", fake.url)
    monkeypatch.delenv("OLLAMA_API_KEY", raising=False)


def test_without_a_word_they_are_listed(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    key = {"name": "laptop", "scope": "use", "created_at": OLD, "last_used_at": None}
    fake.routes[("GET", "/puna/v1/keys")] = ok({"required": True, "keys": [key, {**key, "last_used_at": OLD}]})
    for words in (["keys"], ["keys", "list"]):
        assert main(words) == 0
        out, err = capsys.readouterr()
        head, never, old = out.splitlines()
        assert head.split() == ["NAME", "SCOPE", "CREATED", "LAST", "USED"]
        assert never.split()[-1] == "Never"
        assert old.split()[-2:] == ["years", "ago"]
        assert err == ""


def test_no_keys_where_they_are_required(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    fake.routes[("GET", "/puna/v1/keys")] = ok({"required": True, "keys": []})
    assert main(["keys"]) == 0
    assert "puna keys add NAME" in capsys.readouterr().err


def test_a_new_key_is_alone_on_standard_output(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    made = {"name": "a", "scope": "use", "created_at": OLD, "last_used_at": None, "key": "puna-x", "required": False}
    fake.routes[("POST", "/puna/v1/keys")] = ok(made)
    assert main(["keys", "add", "a"]) == 0
    out, err = capsys.readouterr()
    assert out == "puna-x\n"
    assert err.splitlines()[0].endswith("Who sends it may ask models and list them.")
    assert err.splitlines()[1].startswith("Note: the server lets everybody in")
    assert main(["keys", "add", "a", "--scope", "manage", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (made, "")
    assert fake.bodies("/puna/v1/keys") == [{"name": "a", "scope": "use"}, {"name": "a", "scope": "manage"}]


def test_a_name_is_quoted_in_the_address(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    fake.routes[("DELETE", "/puna/v1/keys/my%20key%2F%3F")] = ok({"required": True})
    assert main(["keys", "revoke", "my key/?"]) == 0
    assert capsys.readouterr().out == "revoked 'my key/?'\n"
    assert main(["keys", "revoke", "my key/?", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "my key/?", "revoked": True, "required": True}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["frob"], 'nothing to do with API keys called "frob"'),
        (["add"], "puna keys add NAME"),
        (["revoke"], "puna keys revoke NAME"),
        (["list", "a"], "puna keys list"),
        (["list", "--scope", "use"], "--scope goes with puna keys add NAME"),
        (["revoke", "a", "--scope", "use"], "--scope goes with puna keys add NAME"),
    ],
)
def test_mistakes_are_told_without_asking_the_server(
    fake: FakeServer, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["keys", *words]) == 1
    assert sentence in capsys.readouterr().err
    assert fake.asked == []


def test_the_servers_sentences_are_passed_on(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    fake.routes[("POST", "/puna/v1/keys")] = failing(409, 'there is an API key "a" already')
    assert main(["keys", "add", "a"]) == 1
    assert capsys.readouterr().err == 'Error: there is an API key "a" already\n'
    # Ollama has no such route.
    assert main(["keys"]) == 1
