"""cli 8: the interactive session in a real terminal.

Not collected on Windows, which has no pseudo-terminals of this kind (conftest.py).
"""

from __future__ import annotations

import base64
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.answers import BARE, LLAMA, SEER, THINKER, TIMED, chatted
from tests.cli.program import ROOT, Program
from tests.cli.terminal import Terminal, terminal
from tests.client.fake_server import PATIENCE_SECONDS, Answer, Asked, FakeServer, failing, ok, streaming

ENTER, CTRL_C, CTRL_D, CTRL_G, CTRL_J, UP = "\r", "\x03", "\x04", "\x07", "\n", "\x1b[A"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(4)
HINT = "Send a message (/? for help)"


@pytest.fixture
def model(fake: FakeServer) -> FakeServer:
    """A server with a model that answers `Hello.`"""
    fake.routes[("POST", "/api/show")] = ok(BARE)
    fake.routes[("POST", "/api/generate")] = ok({"done": True, "done_reason": "load"})
    fake.routes[("POST", "/api/chat")] = streaming(chatted("Hel"), chatted("lo."), TIMED)
    return fake


def session(program: Program, *flags: str, columns: int = 80, folder: Path = ROOT) -> AbstractContextManager[Terminal]:
    return terminal(program.command("run", "m", *flags), program.environ, folder, columns)


@pytest.fixture
def screen(model: FakeServer, program: Program) -> Iterator[Terminal]:
    """A session at its first prompt."""
    with session(program) as opened:
        opened.expect(HINT)
        yield opened


def say(screen: Terminal, text: str, expected: str) -> str:
    screen.send(text + ENTER)
    before = screen.expect(expected)
    screen.expect(">>> ")
    return before


def leave(screen: Terminal) -> None:
    screen.send("/bye" + ENTER)
    assert screen.wait() == 0


def test_the_whole_conversation_is_sent_with_every_turn(screen: Terminal, model: FakeServer) -> None:
    """cli 62, 78"""
    assert "\x1b[" in screen.raw
    say(screen, "hi", "Hello.")
    say(screen, "and again", "Hello.")
    leave(screen)
    first, second = model.bodies("/api/chat")
    assert first == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert second["messages"] == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "and again"},
    ]
    assert model.bodies("/api/generate") == [{"model": "m", "stream": False}]


def test_pictures_stay_in_the_conversation(model: FakeServer, program: Program, tmp_path: Path) -> None:
    """cli 60, 74, 78; oddity 8: in blocks of lines too, and one that the server refuses is not sent again"""
    (tmp_path / "a b.png").write_bytes(PNG)
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "c.webp").write_bytes(b"RIFF....WEBP")
    model.routes[("POST", "/api/show")] = ok(SEER)
    with session(program, folder=tmp_path) as screen:
        screen.expect(HINT)
        say(screen, "what is ./a\\ b.png", "Added image './a b.png'")
        say(screen, f"{tmp_path}/bad.jpg?", 'Couldn\'t process file: "invalid file type: bad.jpg"')
        say(screen, '"""look' + ENTER + "./c.webp" + ENTER + 'again"""', "Added image './c.webp'")
        model.routes[("POST", "/api/chat")] = failing(400, "An image could not be read.")
        say(screen, "./c.webp", "error: An image could not be read.")
        model.routes[("POST", "/api/chat")] = streaming(chatted("Hello."), TIMED)
        say(screen, "and now", "Hello.")
        model.routes[("POST", "/api/create")] = streaming({"status": "success"})
        say(screen, "/save mine", "Created new model 'mine'")
        leave(screen)
    asked = model.bodies("/api/chat")
    picture, other = (base64.b64encode(data).decode() for data in (PNG, b"RIFF....WEBP"))
    questions = [message for message in asked[-1]["messages"] if message["role"] == "user"]
    assert questions == [
        {"role": "user", "content": "what is", "images": [picture]},
        {"role": "user", "content": f"{tmp_path}/bad.jpg?"},
        {"role": "user", "content": "look\n\nagain", "images": [other]},
        {"role": "user", "content": "and now"},
    ]
    (saved,) = model.bodies("/api/create")
    assert saved["messages"][0] == questions[0]


def test_several_lines_in_one_message(screen: Terminal, model: FakeServer) -> None:
    """cli 63, 64: blocks, Ctrl+J, bracketed paste"""
    say(screen, '"""one' + ENTER + "two" + ENTER + 'three"""', "Hello.")
    say(screen, "four" + CTRL_J + "five", "Hello.")
    typed = say(screen, "\x1b[200~six\n\tseven\x1b[201~", "Hello.")
    assert "^I" not in typed
    leave(screen)
    contents = [body["messages"][-1]["content"] for body in model.bodies("/api/chat")]
    assert contents == ["one\ntwo\nthree", "four\nfive", "six\n\tseven"]


def test_the_second_hint(screen: Terminal) -> None:
    screen.send("four" + CTRL_J)
    screen.expect("Press Enter to send")
    screen.send(CTRL_C + CTRL_D)
    assert screen.wait() == 0


def test_help(screen: Terminal) -> None:
    """cli 65, 77; oddities 5 and 9"""
    text = say(screen, "/?", "to begin a multi-line message.")
    commands = [line.split()[0].rstrip(",") for line in text.splitlines() if line.startswith("  /")]
    assert commands == ["/set", "/show", "/load", "/save", "/list", "/clear", "/bye", "/?", "/?"]
    say(screen, "/? set", "/set parameter ...")
    say(screen, "/? shortcuts", "Ctrl + g")
    say(screen, "/foo", "Unknown command '/foo'. Type /? for help")
    say(screen, "/byebye", "Unknown command '/byebye'. Type /? for help")
    say(screen, "/set other", "Unknown command '/set other'. Type /? for help")
    leave(screen)


def test_set(screen: Terminal, model: FakeServer) -> None:
    """cli 66, 67, 68, 69, 71"""
    say(screen, "/set parameter num_ctx 8192", "Set parameter 'num_ctx' to '8192'")
    say(screen, "/set parameter temperature hot", 'Couldn\'t set parameter: "invalid float value [hot]"')
    say(screen, "/set parameter heat 1", "Couldn't set parameter: \"unknown parameter 'heat'\"")
    say(screen, "/set parameter stop a b", "Set parameter 'stop' to 'a, b'")
    say(screen, "/set system You are a dog", "Set system message.")
    say(screen, "/set system You are a cat", "Set system message.")
    say(screen, "/set format json", "Set format to 'json' mode.")
    say(screen, "/set format xml", "Invalid or missing format. For 'json' mode use '/set format json'")
    say(screen, "hi", "Hello.")
    say(screen, "/set noformat", "Disabled format.")
    say(screen, "/set nowordwrap", "Set 'nowordwrap' mode.")
    say(screen, "/set parameter", "Available Parameters:")
    say(screen, "hi", "Hello.")
    leave(screen)
    first, second = model.bodies("/api/chat")
    assert first == {
        "model": "m",
        "messages": [{"role": "system", "content": "You are a cat"}, {"role": "user", "content": "hi"}],
        "format": "json",
        "options": {"num_ctx": 8192, "stop": ["a", "b"]},
    }
    assert "format" not in second


def test_a_system_text_of_several_lines(screen: Terminal, model: FakeServer) -> None:
    say(screen, '/set system """a' + ENTER + 'b"""', "Set system message.")
    say(screen, "/show system", "a\nb")
    leave(screen)


def test_timings_can_be_switched(screen: Terminal) -> None:
    """cli 70"""
    say(screen, "/set verbose", "Set 'verbose' mode.")
    say(screen, "hi", "eval rate:            96.13 tokens/s")
    say(screen, "/set quiet", "Set 'quiet' mode.")
    assert "eval rate" not in say(screen, "hi", "Hello.")
    leave(screen)


def test_show(model: FakeServer, program: Program) -> None:
    """cli 72, 73"""
    with session(program) as screen:
        screen.expect(HINT)
        say(screen, "/show license", "No license was specified for this model.")
        say(screen, "/show template", "No prompt template was specified for this model.")
        say(screen, "/show system", "No system message was specified for this model.")
        say(screen, "/show info", "Capabilities")
        say(screen, "/show parameters", "No additional parameters were specified for this model.")
        say(screen, "/set parameter seed 7", "Set parameter")
        text = say(screen, "/show parameters", "seed                           7")
        assert "Model defined parameters:" in text
        assert "User defined parameters:" in text
        say(screen, "/show", "/show modelfile")
        leave(screen)
    model.routes[("POST", "/api/show")] = ok(LLAMA)
    with session(program) as screen:
        screen.expect(HINT)
        say(screen, "/show license", "line five")
        say(screen, "/show modelfile", "FROM /blobs/sha256-1")
        leave(screen)


def test_thinking(model: FakeServer, program: Program) -> None:
    model.routes[("POST", "/api/show")] = ok(THINKER)
    model.routes[("POST", "/api/chat")] = streaming(chatted("", "Hm."), chatted("Yes."), TIMED)
    with session(program) as screen:
        screen.expect(HINT)
        say(screen, "hi", "Thinking...\nHm.\n...done thinking.\n\nYes.")
        say(screen, "/set think high", "Set 'think' mode to 'high'.")
        say(screen, "hi", "Yes.")
        say(screen, "/set nothink", "Set 'nothink' mode.")
        say(screen, "hi", "Yes.")
        leave(screen)
    assert [body["think"] for body in model.bodies("/api/chat")] == [True, "high", False]
    assert model.bodies("/api/chat")[1]["messages"][1] == {"role": "assistant", "content": "Yes.", "thinking": "Hm."}


def test_thinking_of_a_model_that_cannot(screen: Terminal, model: FakeServer) -> None:
    """cli 8.7: such an error does not end the session"""
    say(screen, "/set think", 'warning: model "m" does not support thinking output')
    model.routes[("POST", "/api/chat")] = failing(400, '"m" does not support thinking')
    say(screen, "hi", 'error: "m" does not support thinking')
    leave(screen)


def test_save_and_load(screen: Terminal, model: FakeServer) -> None:
    """cli 74, 75"""
    model.routes[("POST", "/api/create")] = streaming({"status": "success"})
    say(screen, "/set parameter seed 7", "Set parameter")
    say(screen, "hi", "Hello.")
    say(screen, "/save mine", "Created new model 'mine'")
    say(screen, "/save bad!", "error: The model name 'bad!' is invalid")
    say(screen, "/save", "/save <modelname>")
    say(screen, "/load", "/load <modelname>")
    stored = [{"role": "user", "content": "before"}, {"role": "assistant", "content": "After."}]

    def show(asked: Asked) -> Answer:
        found = asked.json["model"] == "mine"
        return ok({**BARE, "messages": stored})(asked) if found else failing(404, "no")(asked)

    model.routes[("POST", "/api/show")] = show
    say(screen, "/load nosuch", "Couldn't find model 'nosuch'")
    say(screen, "/load mine", "Loading model 'mine'")
    screen.expect("before\nAfter.")
    say(screen, "more", "Hello.")
    say(screen, "/save again", "Created new model 'again'")
    leave(screen)
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello."}]
    more = [{"role": "user", "content": "more"}, {"role": "assistant", "content": "Hello."}]
    assert model.bodies("/api/create") == [
        {"model": "mine", "from": "m", "parameters": {"seed": 7}, "messages": said},
        {"model": "again", "from": "mine", "parameters": {"seed": 7}, "messages": [*stored, *more]},
    ]
    last = model.bodies("/api/chat")[-1]
    assert last["model"] == "mine"
    assert last["messages"] == more[:1]  # the server puts the stored ones in front


def test_clear_keeps_the_system_text(screen: Terminal, model: FakeServer) -> None:
    """cli 76"""
    say(screen, "/set system Be brief.", "Set system message.")
    say(screen, "hi", "Hello.")
    say(screen, "/clear", "Cleared session context")
    say(screen, "new", "Hello.")
    leave(screen)
    assert model.bodies("/api/chat")[-1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "new"},
    ]


def test_list(screen: Terminal, model: FakeServer) -> None:
    model.routes[("GET", "/api/tags")] = ok({"models": []})
    say(screen, "/list", "MODIFIED")
    leave(screen)


def test_ctrl_c_and_ctrl_d_at_the_prompt(screen: Terminal) -> None:
    """cli 78, 79"""
    screen.send(CTRL_C)
    screen.expect("Use Ctrl + d or /bye to exit.")
    screen.expect(HINT)
    screen.send("to be dropped" + CTRL_C)
    screen.expect(HINT)
    screen.send(CTRL_D)
    assert screen.wait() == 0


def test_ctrl_c_stops_only_the_answer(screen: Terminal, model: FakeServer) -> None:
    """cli 83"""
    model.routes[("POST", "/api/chat")] = streaming(chatted("Once upon"), threading.Event(), TIMED)
    screen.send("a story" + ENTER)
    screen.expect("Once upon")
    screen.send(CTRL_C)
    screen.expect(HINT)
    assert model.client_left.wait(PATIENCE_SECONDS)
    model.routes[("POST", "/api/chat")] = streaming(chatted("Fine."), TIMED)
    say(screen, "go on", "Fine.")
    leave(screen)
    assert model.bodies("/api/chat")[-1]["messages"] == [
        {"role": "user", "content": "a story"},
        {"role": "user", "content": "go on"},
    ]


def test_what_is_typed_during_an_answer_waits_for_the_prompt(screen: Terminal, model: FakeServer) -> None:
    go_on = threading.Event()
    model.routes[("POST", "/api/chat")] = streaming(chatted("Once upon"), go_on, chatted(" a time."), TIMED)
    screen.send("a story" + ENTER)
    screen.expect("Once upon")
    screen.send("typed ahead" + ENTER)
    go_on.set()
    assert screen.expect(" a time.") == ""
    screen.expect("typed ahead")
    screen.expect("Once upon a time.")
    leave(screen)
    assert [body["messages"][-1]["content"] for body in model.bodies("/api/chat")] == ["a story", "typed ahead"]


def test_errors_of_the_server_do_not_end_the_session(screen: Terminal, model: FakeServer) -> None:
    model.routes[("POST", "/api/chat")] = failing(
        503, "server busy, please try again.  maximum pending requests exceeded"
    )
    say(screen, "hi", "error: server busy, please try again.")
    leave(screen)


def test_history(model: FakeServer, program: Program) -> None:
    """cli 80: also after a restart, at most 100 entries, for the owner only"""
    folder = program.home / ".ollama"
    folder.mkdir()
    file = folder / "history"
    file.write_text("".join(f"old {number}\n\n" for number in range(150)), encoding="utf-8")
    with session(program) as screen:
        screen.expect(HINT)
        say(screen, UP, "Hello.")
        say(screen, "newest", "Hello.")
        leave(screen)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 100
    assert lines[-3:] == ["old 149", "newest", "/bye"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in folder.iterdir()] == ["history"]
    with session(program) as screen:
        screen.expect(HINT)
        screen.send(UP + UP)
        screen.expect("newest")
        say(screen, "", "Hello.")
        leave(screen)
    assert [body["messages"][-1]["content"] for body in model.bodies("/api/chat")] == ["old 149", "newest", "newest"]


def test_history_can_be_off(model: FakeServer, program: Program) -> None:
    """cli 81"""
    program.extra["OLLAMA_NOHISTORY"] = "1"
    with session(program) as screen:
        screen.expect(HINT)
        say(screen, "hi", "Hello.")
        screen.send(UP)
        screen.expect("hi")
        screen.send(CTRL_C)
        screen.expect(HINT)
        assert not (program.home / ".ollama").exists()
        screen.send("/set history" + ENTER)
        screen.expect(HINT)
        say(screen, "kept", "Hello.")
        leave(screen)
    lines = (program.home / ".ollama" / "history").read_text(encoding="utf-8").splitlines()
    assert lines[-2:] == ["kept", "/bye"]


def test_the_editor(model: FakeServer, program: Program, tmp_path: Path) -> None:
    """cli 82"""
    editor = tmp_path / "my editor"
    editor.write_text('#!/bin/sh\nprintf " and edited\\n\\n" >> "$2"\n', encoding="utf-8")
    editor.chmod(0o755)
    program.extra["EDITOR"] = f"'{editor}' --wait"
    with session(program) as screen:
        screen.expect(HINT)
        screen.send("typed")
        screen.expect("typed")
        screen.send(CTRL_G)
        screen.expect("typed and edited")
        screen.send(ENTER)
        screen.expect("Hello.")
        leave(screen)
    assert model.bodies("/api/chat")[0]["messages"][0]["content"] == "typed and edited"


def test_a_missing_editor(model: FakeServer, program: Program) -> None:
    program.extra["OLLAMA_EDITOR"] = "no-such-editor"
    with session(program) as screen:
        screen.expect(HINT)
        screen.send(CTRL_G)
        screen.expect(
            'error: editor "no-such-editor" not found, set OLLAMA_EDITOR to the path of your preferred editor'
        )
        screen.expect(HINT)
        screen.send(CTRL_D)
        assert screen.wait() == 0


def test_words_are_wrapped(model: FakeServer, program: Program) -> None:
    model.routes[("POST", "/api/chat")] = streaming(chatted("one two thr"), chatted("ee four"), TIMED)
    with session(program, columns=40) as screen:
        screen.expect(HINT)
        long = [chatted(word) for word in ("The quick brown fox jumps over the la", "zy dog.")]
        model.routes[("POST", "/api/chat")] = streaming(*long, TIMED)
        say(screen, "hi", "\nlazy dog.")
        say(screen, "/set nowordwrap", "Set 'nowordwrap' mode.")
        say(screen, "hi", "the lazy dog.")
        leave(screen)


def test_a_model_that_cannot_be_loaded_ends_with_status_1(model: FakeServer, program: Program) -> None:
    model.routes[("POST", "/api/generate")] = failing(500, "The model could not be loaded.")
    with session(program) as screen:
        screen.expect("Error: The model could not be loaded.")
        assert screen.wait() == 1


def test_a_piped_answer_is_not_interactive(model: FakeServer, program: Program) -> None:
    model.routes[("POST", "/api/generate")] = streaming({"response": "ok", "done": False}, TIMED)
    result: Any = program.run("run", "m", text="hi")
    assert result.stdout == "ok\n\n"
    assert json.dumps(model.bodies("/api/generate")) == '[{"model": "m", "prompt": "hi"}]'
