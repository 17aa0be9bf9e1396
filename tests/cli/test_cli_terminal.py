"""What commands show on a terminal and not in a pipe. Not collected on Windows (conftest.py)."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.cli.answers import THINKER, TIMED, said
from tests.cli.program import ROOT, Program, ended_at_last, free_port
from tests.cli.terminal import terminal
from tests.client.fake_server import FakeServer, ok, streaming


def test_create_draws_its_progress(fake: FakeServer, program: Program, tmp_path: Path) -> None:
    """cli 35"""
    go_on = threading.Event()
    quantizing = {"status": "quantizing F16 model to Q4_K_M", "digest": "0" * 19, "total": 4000, "completed": 1000}
    fake.routes[("POST", "/api/create")] = streaming(
        {"status": "parsing GGUF"}, quantizing, go_on, {**quantizing, "completed": 4000}, {"status": "success"}
    )
    (tmp_path / "Modelfile").write_text("FROM x\n", encoding="utf-8")
    with terminal(program.command("create", "m"), program.environ, tmp_path, columns=120) as screen:
        screen.expect("gathering model components")
        screen.expect("parsing GGUF")
        screen.expect("quantizing F16 model to Q4_K_M")
        screen.expect(" 25%")
        screen.expect("1.0/4.0 kB")
        go_on.set()
        screen.expect("100%")
        screen.expect("4.0/4.0 kB")
        screen.expect("success")
        assert screen.wait() == 0
    assert "?" not in screen.screen, "a rate that is not known is left out"
    assert "\x1b[?25l" in screen.raw
    assert screen.raw.rstrip().endswith("\x1b[?25h")


def test_pull_draws_a_bar_for_each_layer(fake: FakeServer, program: Program, tmp_path: Path) -> None:
    """cli 37, 41, 6.6: and Ctrl+C says what becomes of it"""
    go_on, never = threading.Event(), threading.Event()
    layer = {"status": "pulling 0123456789ab", "digest": "sha256:0123456789ab", "total": 4000}
    fake.routes[("POST", "/api/pull")] = streaming(
        {"status": "pulling manifest"},
        {"status": "pulling manifest", "download_bytes": 4000, "fit": f"m [b]fits{'.' * 120}"},
        {**layer, "completed": 1000},
        go_on,
        {**layer, "completed": 4000},
        never,
    )
    with terminal(program.command("pull", "m"), program.environ, tmp_path, columns=120) as screen:
        screen.expect("pulling manifest")
        screen.expect("4 KB to download. m [b]fits" + "." * 93)
        screen.expect("pulling 0123456789ab")
        screen.expect(" 25%")
        screen.expect("1.0/4.0 kB")
        go_on.set()
        screen.expect("100%")
        screen.send("\x03")
        screen.expect("Stopped. What has been downloaded is kept; the same command goes on from there.")
        assert screen.wait() == 130
    assert "\x1b[?25h" in screen.raw


def test_an_answer_is_wrapped_and_thoughts_are_grey(fake: FakeServer, program: Program) -> None:
    fake.routes[("POST", "/api/show")] = ok(THINKER)
    fake.routes[("POST", "/api/generate")] = streaming(
        {"response": "", "thinking": "Hm.", "done": False},
        said("The quick brown fox jumps over the la"),
        said("zy dog."),
        TIMED,
    )
    with terminal(program.command("run", "m", "hi"), program.environ, ROOT, columns=40) as screen:
        screen.expect("Thinking...\nHm.\n...done thinking.\n\nThe quick brown fox")
        screen.expect("\nlazy dog.\n\n")
        assert screen.wait() == 0
    assert "\x1b[90mHm.\x1b[0m" in screen.raw
    with terminal(program.command("run", "m", "--nowordwrap", "hi"), program.environ, ROOT, columns=40) as screen:
        screen.expect("over the lazy dog.")
        assert screen.wait() == 0


def test_an_answer_that_breaks_off_leaves_the_terminal_as_it_was(fake: FakeServer, program: Program) -> None:
    """The error has a line of its own, and a thought that was stopped does not colour what follows"""
    fake.routes[("POST", "/api/show")] = ok(THINKER)
    fake.routes[("POST", "/api/generate")] = streaming(said("Once upon"), {"error": "The model's process ended."})
    with terminal(program.command("run", "m", "hi"), program.environ, ROOT) as screen:
        screen.expect("Once upon\nError: The model's process ended.\n")
        assert screen.wait() == 1
    fake.routes[("POST", "/api/generate")] = streaming(
        {"response": "", "thinking": "Hm", "done": False}, threading.Event()
    )
    with terminal(program.command("run", "m", "hi"), program.environ, ROOT) as screen:
        screen.expect("Hm")
        screen.send("\x03")
        assert screen.wait() == 0
    assert screen.raw.rstrip().endswith("\x1b[0m")
    assert screen.screen.endswith("\n")


def test_ctrl_c_while_a_model_loads_leaves_a_session(fake: FakeServer, program: Program) -> None:
    fake.routes[("POST", "/api/show")] = ok(THINKER)
    fake.routes[("POST", "/api/generate")] = streaming(threading.Event())
    with terminal(program.command("run", "m"), program.environ, ROOT) as screen:
        assert fake.waiting.wait(60)
        screen.send("\x03")
        assert screen.wait() == 0
    assert "Traceback" not in screen.screen


def test_starting_the_server_is_shown_while_it_lasts(tmp_path: Path) -> None:
    port = free_port()
    program = Program(tmp_path / "home", f"127.0.0.1:{port}")
    with ended_at_last(port), terminal(program.command("list"), program.environ, ROOT) as screen:
        screen.expect("starting the Puna server")
        screen.expect("NAME")
        assert screen.wait() == 0
