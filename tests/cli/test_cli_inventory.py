"""cli 6: list, ps, stop, cp, rm and show, against recorded answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.cli.main import main
from tests.cli.answers import BARE, LLAMA
from tests.client.fake_server import Answer, Asked, FakeServer, failing, ok

ID = "0123456789ab"


def hours_ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


MODELS: list[dict[str, Any]] = [
    {"name": "llama3.2:latest", "digest": ID + "c" * 52, "size": 4661224676, "modified_at": hours_ago(3)},
    {"name": "Qwen3:8b", "digest": ID + "d" * 52, "size": 999, "modified_at": "0001-01-01T00:00:00Z"},
    {"name": "big:cloud", "digest": ID, "size": 384, "remote_model": "big", "modified_at": hours_ago(24 * 20)},
]


@pytest.fixture(autouse=True)
def at_the_fake_server(fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OLLAMA_HOST", fake.url)


@pytest.mark.parametrize("word", ["list", "ls"])
def test_list(word: str, fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """cli 6, 16, 17, 19"""
    fake.routes[("GET", "/api/tags")] = ok({"models": MODELS})
    assert main([word]) == 0
    assert capsys.readouterr().out == (
        "NAME               ID              SIZE      MODIFIED       \n"
        f"llama3.2:latest    {ID}    4.7 GB    3 hours ago    \n"
        f"Qwen3:8b           {ID}    999 B     Never          \n"
        f"big:cloud          {ID}    -         2 weeks ago    \n"
    )
    assert fake.asked[0].method == "HEAD"


def test_list_nothing(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """cli 15"""
    fake.routes[("GET", "/api/tags")] = ok({"models": []})
    assert main(["list"]) == 0
    assert capsys.readouterr().out.split() == ["NAME", "ID", "SIZE", "MODIFIED"]


def test_list_by_prefix_and_as_json(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """cli 18"""
    fake.routes[("GET", "/api/tags")] = ok({"models": MODELS})
    assert main(["list", "LLA", "ignored"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["NAME", "llama3.2:latest"]
    assert main(["list", "qwen", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"models": [MODELS[1]]}


def test_ps(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """cli 20 to 24"""
    soon = (datetime.now(UTC) + timedelta(minutes=4, seconds=30)).isoformat()
    common = {"digest": ID + "c" * 52, "size": 9600000000, "context_length": 131072}
    fake.routes[("GET", "/api/ps")] = ok(
        {
            "models": [
                {"name": "a:latest", "size_vram": 9600000000, "expires_at": "2318-01-01T00:00:00Z", **common},
                {"name": "b:latest", "size_vram": 4992000000, "expires_at": soon, **common},
                {"name": "C:latest", "size_vram": 0, "expires_at": hours_ago(1), **common},
            ]
        }
    )
    assert main(["ps"]) == 0
    assert capsys.readouterr().out == (
        "NAME        ID              SIZE      PROCESSOR          CONTEXT    UNTIL                 \n"
        f"a:latest    {ID}    9.6 GB    100% GPU           131072     Forever               \n"
        f"b:latest    {ID}    9.6 GB    48%/52% CPU/GPU    131072     4 minutes from now    \n"
        f"C:latest    {ID}    9.6 GB    100% CPU           131072     Stopping...           \n"
    )
    assert main(["ps", "c"]) == 0
    assert "C:latest" in capsys.readouterr().out
    assert main(["ps", "--json", "zzz"]) == 0
    assert json.loads(capsys.readouterr().out) == {"models": []}


def test_stop(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """cli 25, 26"""
    fake.routes[("POST", "/api/generate")] = ok({"done": True, "done_reason": "unload"})
    assert main(["stop", "a"]) == 0
    assert fake.bodies("/api/generate") == [{"model": "a", "stream": False, "keep_alive": 0}]
    fake.routes[("POST", "/api/generate")] = failing(404, "model 'nosuch' not found")
    assert main(["stop", "nosuch"]) == 1
    assert capsys.readouterr() == ("", 'Error: couldn\'t find model "nosuch" to stop\n')


def test_cp(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """cli 27"""
    fake.routes[("POST", "/api/copy")] = lambda asked: Answer()
    assert main(["cp", "a", "b"]) == 0
    assert capsys.readouterr().out == "copied 'a' to 'b'\n"
    fake.routes[("POST", "/api/copy")] = failing(404, 'model "a" not found')
    assert main(["cp", "a", "b"]) == 1
    assert capsys.readouterr().err == 'Error: model "a" not found\n'


def test_rm_goes_on_after_a_failure(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """cli 28, and oddity 11: one failure does not keep the others"""
    fake.routes[("POST", "/api/generate")] = failing(500, "busy")

    def delete(asked: Asked) -> Answer:
        known = asked.json["model"] in ("a", "b")
        return Answer() if known else failing(404, f"model '{asked.json['model']}' not found")(asked)

    fake.routes[("DELETE", "/api/delete")] = delete
    assert main(["rm", "a", "nosuch", "b"]) == 1
    out, err = capsys.readouterr()
    assert out == "deleted 'a'\ndeleted 'b'\n"
    assert err == (
        "Warning: unable to stop model 'a'\nWarning: unable to stop model 'nosuch'\n"
        "Error: model 'nosuch' not found\nWarning: unable to stop model 'b'\n"
    )
    fake.routes[("POST", "/api/generate")] = failing(404, "model not found")
    assert main(["rm", "a"]) == 0
    assert capsys.readouterr() == ("deleted 'a'\n", "")


def test_rm_says_what_it_freed(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside what scripts know, or as JSON for those that want it."""
    fake.routes[("POST", "/api/generate")] = ok({"done": True})
    fake.routes[("DELETE", "/api/delete")] = lambda asked: (
        Answer(headers={"X-Puna-Freed-Bytes": "2350000000"})
        if asked.json["model"] in ("a", "b")
        else failing(404, "model 'c' not found")(asked)
    )
    assert main(["rm", "a", "b"]) == 0
    assert capsys.readouterr() == ("deleted 'a'\ndeleted 'b'\n", "freed 4.7 GB\n")
    assert main(["rm", "a", "c", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "models": [
            {"name": "a", "deleted": True, "freed_bytes": 2350000000},
            {"name": "c", "deleted": False, "error": "model 'c' not found"},
        ]
    }
    assert err == "Error: model 'c' not found\n"


def test_show(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """cli 31, 33"""
    fake.routes[("POST", "/api/show")] = ok(LLAMA)
    assert main(["show", "llama3.2"]) == 0
    assert capsys.readouterr().out == (
        "  Model\n"
        "    architecture        llama\n"
        "    parameters          3.2B\n"
        "    context length      131072\n"
        "    embedding length    3072\n"
        "    quantization        Q4_K_M\n"
        "\n"
        "  Capabilities\n"
        "    completion\n"
        "    tools\n"
        "\n"
        "  Parameters\n"
        '    stop           "<|eot|>"\n'
        "    temperature    0.7\n"
        "\n"
        "  System\n"
        "    You are a llama.\n"
        "    Be brief.\n"
        "    ...\n"
        "\n"
        "  License\n"
        "    LICENSE\n"
        "    line two\n"
        "    ...\n"
        "\n"
    )


def test_show_verbose(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    """cli 32"""
    fake.routes[("POST", "/api/show")] = ok(LLAMA)
    assert main(["show", "-v", "llama3.2"]) == 0
    text = capsys.readouterr().out
    metadata = text.partition("  Metadata\n")[2].partition("\n\n")[0].splitlines()
    assert metadata == [
        "    general.architecture       llama",
        "    general.parameter_count    3.2B",
        "    llama.context_length       131K",
        "    llama.embedding_length     3K",
        "    llama.rope.freq_base       500000",
        "    tokenizer.ggml.tokens      [<unk>, <s> ...+3 more]",
    ]
    assert "  Tensors\n    output.weight    Q6_K    [3072, 128256]\n" in text
    assert fake.bodies("/api/show") == [{"model": "llama3.2", "verbose": True}]


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--license", LLAMA["license"] + "\n"),
        ("--modelfile", LLAMA["modelfile"] + "\n"),
        ("--parameters", LLAMA["parameters"] + "\n"),
        ("--system", LLAMA["system"]),
        ("--template", LLAMA["template"]),
    ],
)
def test_show_one_part(flag: str, text: str, fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    fake.routes[("POST", "/api/show")] = ok(LLAMA)
    assert main(["show", "m", flag]) == 0
    assert capsys.readouterr().out == text


def test_show_refuses_two_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """cli 29"""
    assert main(["show", "m", "--system", "--template"]) == 1
    assert capsys.readouterr().err == (
        "Error: only one of '--license', '--modelfile', '--parameters', '--system', or '--template' can be specified\n"
    )


def test_show_little_and_nothing(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    fake.routes[("POST", "/api/show")] = ok(BARE)
    assert main(["show", "m"]) == 0
    assert capsys.readouterr().out == "  Capabilities\n    completion\n\n"
    assert main(["show", "m", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == BARE
    fake.routes[("POST", "/api/show")] = failing(404, "model 'm' not found")
    assert main(["show", "m"]) == 1
    assert capsys.readouterr().err == "Error: model 'm' not found\n"
