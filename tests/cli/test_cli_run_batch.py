"""cli 7: `run` in scripts and pipes."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cli.answers import BARE, EMBEDDER, LLAMA, SEER, THINKER, TIMED, said
from tests.cli.program import Program
from tests.client.fake_server import PATIENCE_SECONDS, FakeServer, failing, ok, streaming

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 0)


def answering(fake: FakeServer, *lines: Any, info: dict[str, Any] = LLAMA) -> None:
    fake.routes[("POST", "/api/show")] = ok(info)
    fake.routes[("POST", "/api/generate")] = streaming(*lines)


def test_only_the_answer_is_on_standard_output(fake: FakeServer, program: Program) -> None:
    """cli 45; oddity 1: no escape sequences in a pipe"""
    long = "word " * 50
    answering(fake, said("Hel"), said("lo 世界\n"), said(long), TIMED)
    result = program.run("run", "m", "hi", "there")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"Hello 世界\n{long}\n\n", "")
    assert fake.bodies("/api/generate") == [{"model": "m", "prompt": "hi there"}]


def test_piped_text_comes_first(fake: FakeServer, program: Program) -> None:
    """cli 46"""
    answering(fake, said("ok"), TIMED)
    program.run("run", "m", "do", text="text\n")
    program.run("run", "m", text="only text")
    assert [body["prompt"] for body in fake.bodies("/api/generate")] == ["text\n do", "only text"]


def test_an_empty_prompt_loads(fake: FakeServer, program: Program) -> None:
    """cli 47"""
    fake.routes[("POST", "/api/show")] = ok(LLAMA)
    fake.routes[("POST", "/api/generate")] = ok({"done": True, "done_reason": "load"})
    result = program.run("run", "m", "", "--keepalive=10m")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert fake.bodies("/api/generate") == [{"model": "m", "stream": False, "keep_alive": "10m"}]


@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        (["--keepalive", "10m"], {"keep_alive": "10m"}),
        (["--keepalive", "300"], {"keep_alive": 300}),
        (["--keepalive=-1s"], {"keep_alive": "-1s"}),
        (["--format", "json"], {"format": "json"}),
        (["--format", '{"type": "object"}'], {"format": {"type": "object"}}),
        (["--think"], {"think": True}),
        (["--think=false"], {"think": False}),
        (["--think=high"], {"think": "high"}),
        (["--nowordwrap", "--insecure"], {}),
    ],
)
def test_flags(flags: list[str], fields: dict[str, Any], fake: FakeServer, program: Program) -> None:
    """cli 54, 55; oddity 6: a bare number of seconds is accepted"""
    answering(fake, said("ok"), TIMED)
    result = program.run("run", "m", *flags, "x")
    assert result.returncode == 0, result.stderr
    assert fake.bodies("/api/generate") == [{"model": "m", "prompt": "x", **fields}]


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--think=banana", 'invalid value for --think: "banana" (must be true, false, high, medium, low, or max)'),
        ("--keepalive=1d", 'invalid argument "1d" for "--keepalive" flag: time: unknown unit "d" in duration "1d"'),
        ("--format=xml", 'invalid format: "xml"; expected "json" or a valid JSON Schema object'),
    ],
)
def test_bad_flags(flag: str, sentence: str, fake: FakeServer, program: Program) -> None:
    """cli 49"""
    result = program.run("run", "m", flag, "x")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", f"Error: {sentence}\n")
    assert fake.asked == []


def test_thinking_is_marked_without_colour(fake: FakeServer, program: Program) -> None:
    """cli 52"""
    thoughts = [{"response": "", "thinking": piece, "done": False} for piece in ("Let me ", "see.")]
    answering(fake, *thoughts, said("4"), TIMED, info=THINKER)
    assert program.run("run", "m", "2+2").stdout == "Thinking...\nLet me see.\n...done thinking.\n\n4\n\n"
    assert fake.bodies("/api/generate")[0]["think"] is True


def test_thinking_can_be_hidden_and_switched_off(fake: FakeServer, program: Program) -> None:
    """cli 50, 51"""
    answering(fake, {"response": "", "thinking": "Hm.\n", "done": False}, said("4"), TIMED, info=THINKER)
    assert program.run("run", "m", "--hidethinking", "2+2").stdout == "4\n\n"
    assert program.run("run", "m", "--think=false", "2+2").stdout == "4\n\n"
    assert [body["think"] for body in fake.bodies("/api/generate")] == [True, False]


def test_timings(fake: FakeServer, program: Program) -> None:
    """cli 53"""
    answering(fake, said("ok"), TIMED)
    assert program.run("run", "m", "--verbose", "x").stderr == (
        "total duration:       4.66s\n"
        "load duration:        1.2s\n"
        "prompt eval count:    26 token(s)\n"
        "prompt eval duration: 342ms\n"
        "prompt eval rate:     76.02 tokens/s\n"
        "eval count:           298 token(s)\n"
        "eval duration:        3.1s\n"
        "eval rate:            96.13 tokens/s\n"
    )


def test_tool_calls_are_shown(fake: FakeServer, program: Program) -> None:
    call = {"function": {"name": "weather", "arguments": {"city": "Zürich"}}}
    answering(fake, {"message": {"tool_calls": [call]}, "done": False}, TIMED)
    assert program.run("run", "m", "x").stdout == (
        '  Model called a non-existent function \'weather()\' with arguments: {"city": "Zürich"}\n\n\n'
    )


def test_errors(fake: FakeServer, program: Program) -> None:
    """cli 48: an unknown model is pulled first; one that no registry has is an error"""
    fake.routes[("POST", "/api/show")] = failing(404, "model 'm' not found")
    missing = {"error": "pull model manifest: file does not exist"}
    fake.routes[("POST", "/api/pull")] = streaming({"status": "pulling manifest"}, missing)
    result = program.run("run", "m", "x", "--insecure")
    assert result.returncode == 1
    assert result.stderr == "pulling manifest\nError: pull model manifest: file does not exist\n"
    assert fake.bodies("/api/pull") == [{"model": "m", "insecure": True, "fit": True}]
    answering(fake, said("half an"), {"error": "the process that ran the model has ended"})
    result = program.run("run", "m", "x")
    assert (result.returncode, result.stdout) == (1, "half an")
    assert result.stderr == "Error: the process that ran the model has ended\n"
    fake.routes[("POST", "/api/show")] = ok({**BARE, "capabilities": ["image"]})
    assert "image generation models are not currently supported" in program.run("run", "m", "x").stderr


def test_embeddings(fake: FakeServer, program: Program) -> None:
    """cli 56, 57, 58"""
    fake.routes[("POST", "/api/show")] = ok(EMBEDDER)
    fake.routes[("POST", "/api/embed")] = ok({"embeddings": [[0.5, -1.25, 0]]})
    assert program.run("run", "e", text="Hello world\n").stdout == "[0.5,-1.25,0]\n"
    program.run("run", "e", "--dimensions", "64", "--truncate=false", "--keepalive=1m", "x")
    assert fake.bodies("/api/embed") == [
        {"model": "e", "input": "Hello world\n"},
        {"model": "e", "input": "x", "dimensions": 64, "truncate": False, "keep_alive": "1m"},
    ]
    result = program.run("run", "e")
    assert (result.returncode, result.stderr) == (
        1,
        'Error: embedding models require input text. Usage: puna run e "your text here"\n',
    )


def test_pictures_are_attached(fake: FakeServer, program: Program, tmp_path: Path) -> None:
    """cli 60, 61; oddity 8: a picture that cannot be read is reported and stays in the text"""
    (tmp_path / "a b.png").write_bytes(PNG)
    (tmp_path / "fake.jpg").write_bytes(b"no picture")
    answering(fake, said("a plain"), TIMED, info=SEER)
    prompt = "what /is in ./a\\ b.png or ./fake.jpg or ./none.png?"
    result = program.run("run", "m", prompt, cwd=tmp_path)
    assert result.returncode == 0
    assert result.stderr == ("Added image './a b.png'\nCouldn't process file: \"invalid file type: fake.jpg\"\n")
    (body,) = fake.bodies("/api/generate")
    assert body["prompt"] == "what /is in  or ./fake.jpg or ./none.png?"
    assert len(body["images"]) == 1


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("what is ./a.png", "what is"),
        ("'./a.png' what is it?", "what is it?"),
        ('compare "./b c.WEBP" please', "compare  please"),
        ("first line\n./a.png\nlast line", "first line\n\nlast line"),
        ("./a.png", ""),
    ],
)
def test_paths_are_taken_out_of_the_prompt(
    prompt: str, sent: str, fake: FakeServer, program: Program, tmp_path: Path
) -> None:
    """cli 60: what a model that sees is asked"""
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b c.WEBP").write_bytes(b"RIFF....WEBP")
    answering(fake, said("ok"), TIMED, info=SEER)
    result = program.run("run", "m", prompt, cwd=tmp_path)
    assert (result.returncode, result.stderr.startswith("Added image './")) == (0, True)
    (body,) = fake.bodies("/api/generate")
    assert (body["prompt"], len(body["images"])) == (sent, 1)


def test_models_that_see_nothing_get_the_path(fake: FakeServer, program: Program, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    answering(fake, said("?"), TIMED)
    program.run("run", "m", "what is ./a.png", cwd=tmp_path)
    assert fake.bodies("/api/generate") == [{"model": "m", "prompt": "what is ./a.png"}]


def test_ctrl_c_ends_quietly(fake: FakeServer, program: Program) -> None:
    """cli 59"""
    answering(fake, said("Once upon"), threading.Event(), TIMED)
    process = subprocess.Popen(
        program.command("run", "m", "a story"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=program.environ,
        cwd=Path(__file__).parents[2],
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.read(9) == b"Once upon"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out, err) == (0, b"", b"")
    assert fake.client_left.wait(PATIENCE_SECONDS)


def test_a_reader_that_leaves_gets_no_traceback(fake: FakeServer, program: Program) -> None:
    models = [{"name": f"m{number}", "digest": "", "size": 1, "modified_at": ""} for number in range(5000)]
    fake.routes[("GET", "/api/tags")] = ok({"models": models})
    command = " ".join(program.command("list")) + " | head -n 1"
    result = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        text=True,
        env=program.environ,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert result.stdout.startswith("NAME")
    assert result.stderr == ""


def test_json_can_be_parsed(fake: FakeServer, program: Program) -> None:
    answering(fake, said('{"a":'), said(" 1}"), TIMED)
    assert json.loads(program.run("run", "m", "--format", "json", "x").stdout) == {"a": 1}
