"""cli 6.2, model-store 17: a Modelfile and its files on their way to the server."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from server.cli.main import main
from tests.cli.program import Program
from tests.client.fake_server import Answer, Asked, FakeServer, failing, streaming

SUCCESS = {"status": "success"}


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture(autouse=True)
def in_a_folder(fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a server that has no blob yet and takes all."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OLLAMA_HOST", fake.url)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    fake.routes[("POST", "/api/create")] = streaming(
        {"status": "parsing GGUF"}, {"status": "writing manifest"}, SUCCESS
    )
    return folder


def accept(fake: FakeServer, *contents: bytes, has: bool = False) -> None:
    for content in contents:
        path = f"/api/blobs/{digest_of(content)}"
        fake.routes[("HEAD", path)] = lambda asked: Answer(200 if has else 404)
        fake.routes[("POST", path)] = lambda asked: Answer(201)


def uploads(fake: FakeServer) -> list[bytes]:
    return [asked.body for asked in fake.asked if asked.method == "POST" and asked.path.startswith("/api/blobs/")]


def created(fake: FakeServer) -> dict[str, Any]:
    (body,) = fake.bodies("/api/create")
    return dict(body)


def test_every_instruction_becomes_a_field(
    fake: FakeServer, in_a_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_a_folder / "assistant.Modelfile").write_text(
        'FROM llama3.2:3b\nPARAMETER temperature 0.3\nPARAMETER stop "a b"\nPARAMETER stop x\nPARAMETER num_ctx 8192\n'
        "PARAMETER mirostat 1\nTEMPLATE {{ .Prompt }}\n"
        'SYSTEM """You are\nbrief."""\nLICENSE one\nLICENSE two\nMESSAGE user hi: there\nMESSAGE assistant hello\n',
        encoding="utf-8",
    )
    assert main(["create", "company/assistant", "-f", "assistant.Modelfile", "-q", "q4_K_M"]) == 0
    assert created(fake) == {
        "model": "company/assistant",
        "from": "llama3.2:3b",
        "parameters": {"temperature": 0.3, "stop": ["a b", "x"], "num_ctx": 8192},
        "template": "{{ .Prompt }}",
        "system": "You are\nbrief.",
        "license": ["one", "two"],
        "messages": [{"role": "user", "content": "hi: there"}, {"role": "assistant", "content": "hello"}],
        "quantize": "q4_K_M",
    }
    assert capsys.readouterr() == (
        "",
        "warning: parameter mirostat is deprecated\n"
        "gathering model components\nparsing GGUF\nwriting manifest\nsuccess\n",
    )


def test_files_are_hashed_and_sent_once(
    fake: FakeServer, in_a_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Relative to the Modelfile, not to the working folder."""
    (in_a_folder / "sub").mkdir()
    (in_a_folder / "sub" / "w.gguf").write_bytes(b"GGUF weights")
    (in_a_folder / "sub" / "Modelfile").write_text("FROM ./w.gguf\n", encoding="utf-8")
    accept(fake, b"GGUF weights")
    assert main(["create", "m", "-f", "sub/Modelfile"]) == 0
    assert uploads(fake) == [b"GGUF weights"]
    assert created(fake) == {"model": "m", "files": {"w.gguf": digest_of(b"GGUF weights")}}
    assert f"copying file {digest_of(b'GGUF weights')}\n" in capsys.readouterr().err


def test_a_file_that_the_server_has_is_not_sent(fake: FakeServer, in_a_folder: Path) -> None:
    (in_a_folder / "w.gguf").write_bytes(b"GGUF weights")
    (in_a_folder / "Modelfile").write_text(f"FROM {in_a_folder}/w.gguf\n", encoding="utf-8")
    accept(fake, b"GGUF weights", has=True)
    assert main(["create", "m"]) == 0
    assert uploads(fake) == []


def test_a_server_on_this_machine_reads_the_file_itself(
    fake: FakeServer, in_a_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is hashed or sent by the command then."""
    content = b"GGUF weights" * 200_000
    (in_a_folder / "w.gguf").write_bytes(content)
    (in_a_folder / "Modelfile").write_text("FROM ./w.gguf\n", encoding="utf-8")
    fake.routes[("POST", "/puna/v1/blobs")] = streaming(
        {"status": "copying file", "completed": 10, "total": 20}, {"status": "success", "digest": digest_of(content)}
    )
    assert main(["create", "m"]) == 0
    assert fake.bodies("/puna/v1/blobs") == [
        {"path": str(in_a_folder / "w.gguf"), "beginning": digest_of(content[: 1024 * 1024])}
    ]
    assert uploads(fake) == []
    assert created(fake)["files"] == {"w.gguf": digest_of(content)}
    assert "copying file w.gguf\n" in capsys.readouterr().err


def test_progress_as_json(fake: FakeServer, in_a_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_a_folder / "Modelfile").write_text("FROM x\n", encoding="utf-8")
    fake.routes[("POST", "/api/create")] = streaming({"status": "work", "completed": 1, "total": 2}, SUCCESS)
    assert main(["create", "m", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"status": "gathering model components"}, {"status": "work", "completed": 1, "total": 2}, SUCCESS,
    ]  # fmt: skip
    assert err == ""


def test_without_a_modelfile_the_folder_is_the_model(fake: FakeServer, in_a_folder: Path) -> None:
    """Oddity 2: only where no -f was given"""
    (in_a_folder / "model-1.safetensors").write_bytes(b"one")
    (in_a_folder / "config.json").write_bytes(b"{}")
    (in_a_folder / "other.gguf").write_bytes(b"GGUF")
    (in_a_folder / "notes.txt").write_bytes(b"not sent")
    accept(fake, b"one", b"{}")
    assert main(["create", "m"]) == 0
    assert created(fake)["files"] == {"model-1.safetensors": digest_of(b"one"), "config.json": digest_of(b"{}")}


def test_a_modelfile_from_standard_input(fake: FakeServer, program: Program) -> None:
    assert program.run("create", "m", "-f", "-", text="FROM x\nSYSTEM hi\n").returncode == 0
    assert created(fake) == {"model": "m", "from": "x", "system": "hi"}


def test_adapters_and_several_folders(fake: FakeServer, in_a_folder: Path) -> None:
    """model-store 17: adapter folders as fine-tuning tools write them"""
    (in_a_folder / "lora").mkdir()
    (in_a_folder / "lora" / "adapter_model.safetensors").write_bytes(b"adapter")
    (in_a_folder / "lora" / "adapter_config.json").write_bytes(b"{}")
    (in_a_folder / "Modelfile").write_text("FROM base\nADAPTER ./lora\n", encoding="utf-8")
    accept(fake, b"adapter", b"{}")
    assert main(["create", "m"]) == 0
    assert created(fake) == {
        "model": "m",
        "from": "base",
        "adapters": {"adapter_model.safetensors": digest_of(b"adapter"), "adapter_config.json": digest_of(b"{}")},
    }


@pytest.mark.parametrize(
    ("modelfile", "args", "sentence"),
    [
        ("FROM x", ["bad name!"], "invalid model name: bad name!"),
        ("FROM x", ["m", "-f", "missing"], "specified Modelfile wasn't found: missing"),
        ("FROM x", ["m", "--draft-quantize", "q8_0"], "--draft-quantize requires a DRAFT model"),
        ("SYSTEM x", ["m"], "no FROM line"),
        ("FROM x\nPARAMETER heat 1", ["m"], "(line 2): unknown parameter 'heat'"),
        ("FROM x\n# y\nPARAMETER stop a\nPARAMETER top_k b", ["m"], "(line 4): invalid int value [b]"),
        ('FROM x\nSYSTEM """one\ntwo', ["m"], "(line 2): unexpected EOF: the instruction that begins here is not"),
        ("FROM x\nBAD y", ["m"], "(line 2): command must be one of "),
        ("FROM ./none.gguf", ["m"], "./none.gguf does not exist (seen from "),
        ("FROM x\nADAPTER y", ["m"], "y does not exist (seen from "),
        ("FROM x\nREQUIRES soon", ["m"], "(line 2): requires must be a valid semver (e.g. 0.14.0)"),
        ("FROM .", ["m"], "no Modelfile or model files found in "),
        (
            "FROM ./Modelfile\nDRAFT ./Modelfile",
            ["m"],
            "DRAFT must not reference the same local path as FROM: ./Modelfile",
        ),
    ],
)
def test_mistakes(
    modelfile: str,
    args: list[str],
    sentence: str,
    fake: FakeServer,
    in_a_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """cli 34, 36"""
    (in_a_folder / "Modelfile").write_text(modelfile + "\n", encoding="utf-8")
    accept(fake, (modelfile + "\n").encode())
    assert main(["create", *args]) == 1
    assert f"Error: {sentence}" in capsys.readouterr().err
    assert fake.bodies("/api/create") == []


def test_a_link_out_of_the_folder_is_refused(
    in_a_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (in_a_folder / "m.gguf").symlink_to(tmp_path / "secret")
    assert main(["create", "m"]) == 1
    assert "insecure path: " in capsys.readouterr().err


def test_errors_of_the_server(fake: FakeServer, in_a_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_a_folder / "Modelfile").write_text("FROM x\n", encoding="utf-8")
    fake.routes[("POST", "/api/create")] = streaming({"status": "parsing GGUF"}, {"error": "unknown type"})
    assert main(["create", "m"]) == 1
    sentence = "unknown type: FROM takes a GGUF file, a folder with one, or the name of an installed model"
    assert capsys.readouterr().err.endswith(f"parsing GGUF\nError: {sentence}\n")
    fake.routes[("POST", "/api/create")] = failing(400, "invalid model name")
    assert main(["create", "m"]) == 1

    def refuse(asked: Asked) -> Answer:
        return failing(507, "The disk is full")(asked)

    (in_a_folder / "w.gguf").write_bytes(b"GGUF")
    (in_a_folder / "Modelfile").write_text("FROM ./w.gguf\n", encoding="utf-8")
    accept(fake, b"GGUF")
    fake.routes[("POST", f"/api/blobs/{digest_of(b'GGUF')}")] = refuse
    assert main(["create", "m"]) == 1
    assert capsys.readouterr().err.endswith("Error: The disk is full\n")
