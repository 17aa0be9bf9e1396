"""The program that people install: both executables, from a folder that was moved, with no Python to be found."""

from __future__ import annotations

import base64
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx2
import psutil
import pytest
from PIL import Image

from server.client import Client, file_digest
from server.errors import ServerUnreachable
from server.programs import ENGINE
from server.version import VERSION
from tests.app.display import desktop, end, wait_for
from tests.cli.terminal import terminal
from tests.convert.tiny import llama_folder
from tests.golden.server import RunningServer, free_port, running_server

pytestmark = pytest.mark.timeout(900)  # the first one waits for the build
CTRL_G = "\x07"
FOLDER_BYTES = 330 * 1_000_000
# Whatever else is installed where the folder was built, these have nothing to do in it.
NOT_OURS = {
    "torch",
    "transformers",
    "jax",
    "sentencepiece",
    "pytest",
    "_pytest",
    "hypothesis",
    "openai",
    "tkinter",
    "Qml",
}


def bare(home: pathlib.Path) -> dict[str, str]:
    """The environment: a home, and a PATH with nothing in it."""
    nothing = home / "nothing"
    nothing.mkdir(parents=True, exist_ok=True)
    return {"HOME": str(home), "PATH": str(nothing)}


def run(program: pathlib.Path, *words: str, home: pathlib.Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *words],
        env=bare(home) | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd="/",
    )


@pytest.fixture(scope="module")
def serving(built: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    environ = bare(tmp_path_factory.mktemp("serving"))
    with running_server({"PATH": environ["PATH"]}, [str(built / "puna")]) as server:
        yield server


@pytest.fixture
def client(serving: RunningServer) -> Iterator[Client]:
    with Client(serving.base) as client:
        yield client


def install(client: Client, name: str, *files: pathlib.Path) -> None:
    digests = {path.name: file_digest(path) for path in files}
    for path in files:
        client.upload_blob(path, digests[path.name])
    with client.create({"model": name, "files": digests}) as progress:
        assert list(progress)[-1] == {"status": "success"}


def answers(client: Client) -> bool:
    try:
        client.probe()
    except ServerUnreachable:
        return False
    return True


@pytest.mark.parametrize("name", ["puna", "puna-desktop"])
def test_both_programs_tell_their_version(built: pathlib.Path, tmp_path: pathlib.Path, name: str) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    done = run(built / name, "--version", home=tmp_path, OLLAMA_HOST=nobody)
    assert done.returncode == 0, done.stderr
    assert VERSION in done.stdout + done.stderr


def test_the_server_answers_and_the_built_in_model_talks(
    built: pathlib.Path, serving: RunningServer, client: Client, tmp_path: pathlib.Path
) -> None:
    """The answer is that of the same program in a checkout. What runs is of the folder or of the system: nothing comes
    from where it was built."""
    assert client.version()["puna"] == VERSION
    question = ("run", "puna-starter", "Where are models stored?")
    done = run(built / "puna", *question, home=tmp_path, OLLAMA_HOST=serving.base)
    assert done.returncode == 0, done.stderr
    assert ".ollama/models" in done.stdout
    server = psutil.Process(serving.process.pid)
    runners = [child for child in server.children() if child.cmdline()[1] == ENGINE.word]
    assert runners
    for process in (server, *runners):
        assert process.exe() == str(built / "puna")
        files = {file.path for file in process.memory_maps() if file.path.startswith("/")}
        strangers = {path for path in files if not path.startswith((str(built), "/usr/lib", "/lib", "/dev", "/etc"))}
        assert not {path for path in strangers if ".so" in path}


def test_a_model_sees_every_kind_of_image(client: Client, models: pathlib.Path) -> None:
    install(client, "seeing", models / "vision.gguf", models / "vision-mmproj.gguf")
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        file = io.BytesIO()
        Image.new("RGB", (60, 40), (220, 20, 20)).save(file, kind)
        message = {"role": "user", "content": "what color", "images": [base64.b64encode(file.getvalue()).decode()]}
        request = {"model": "seeing", "messages": [message], "stream": False, "options": {"temperature": 0}}
        with client.chat(request) as said:
            assert list(said)[-1]["message"]["content"] == "red"


def test_safetensors_are_converted_quantized_and_run(client: Client, tmp_path: pathlib.Path) -> None:
    files: dict[str, str] = {}
    for name, data in llama_folder().items():
        (tmp_path / name).write_bytes(data)
        files[name] = file_digest(tmp_path / name)
        client.upload_blob(tmp_path / name, files[name])
    with client.create({"model": "tiny", "files": files, "quantize": "q8_0"}) as progress:
        assert list(progress)[-1] == {"status": "success"}
    assert client.show("tiny")["details"]["quantization_level"] == "Q8_0"
    with client.generate({"model": "tiny", "prompt": "a", "stream": False, "options": {"num_predict": 1}}) as said:
        assert list(said)[-1]["done"]


def test_answers_are_held_to_a_grammar(serving: RunningServer) -> None:
    """With the library that only this asks for."""
    request = {"model": "puna-starter", "prompt": "x", "grammar": 'root ::= "plain grass"'}
    answer = httpx2.post(f"{serving.base}/completion", json=request, timeout=60, trust_env=False)
    assert answer.json()["content"] == "plain grass"


def test_an_editor_is_started_without_our_libraries(
    built: pathlib.Path, serving: RunningServer, tmp_path: pathlib.Path
) -> None:
    """It would load them instead of its own."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "libraries: ${LD_LIBRARY_PATH-of the system}" > "$1"\n', encoding="utf-8")
    editor.chmod(0o755)
    environ = bare(tmp_path) | {"OLLAMA_HOST": serving.base, "OLLAMA_EDITOR": str(editor), "TERM": "xterm"}
    environ["PROMPT_TOOLKIT_NO_CPR"] = "1"
    with terminal([str(built / "puna"), "run", "puna-starter"], environ, tmp_path) as screen:
        screen.expect("Send a message")
        screen.send(CTRL_G)
        screen.expect("libraries: of the system")


def test_the_keychain_of_the_system_is_used(built: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Its plug-ins are found: no hash of a key is in the file."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    script = (
        "printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null || exit 1\n"
        '"$0" serve & server=$!\n'
        'until "$0" keys list >/dev/null; do kill -0 $server || exit 1; done\n'
        '"$0" keys add mine && kill $server && wait $server'
    )
    environ = bare(tmp_path) | {"XDG_RUNTIME_DIR": str(runtime), "OLLAMA_HOST": f"127.0.0.1:{free_port()}"}
    done = subprocess.run(
        ["dbus-run-session", "--", "sh", "-c", script, str(built / "puna")],
        env=environ | {"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (kept,) = tmp_path.rglob("api-keys.json")
    (key,) = json.loads(kept.read_text("utf-8"))
    assert (key["name"], key.get("sha256", "")) == ("mine", "")


def test_a_signal_leaves_no_process(built: pathlib.Path, tmp_path: pathlib.Path, models: pathlib.Path) -> None:
    with running_server(bare(tmp_path) | {"HOME": str(tmp_path)}, [str(built / "puna")]) as server:
        with Client(server.base) as client:
            install(client, "scripted", models / "scripted.gguf")
            client.load("scripted", keep_alive="10m")
        family = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
        assert len(family) > 1
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive


@pytest.mark.display
def test_the_tray_starts_and_ends(built: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """desktop 1, 11, with Qt's own plugins, and a server of its own."""
    port = free_port()
    with desktop(tmp_path / "d") as place:
        app = place.start(str(built / "puna-desktop"), OLLAMA_HOST=f"127.0.0.1:{port}", PATH=bare(tmp_path)["PATH"])
        wait_for(lambda: place.tray_icon(app.pid), "the icon in the tray")
        with Client(f"http://127.0.0.1:{port}") as client:
            wait_for(lambda: answers(client), "the server")
            assert client.version()["puna"] == VERSION
        family = psutil.Process(app.pid).children(recursive=True)
        assert end(app) == 0
        _, alive = psutil.wait_procs(family, timeout=5)
        assert not alive


def test_nothing_else_is_in_the_folder(built: pathlib.Path) -> None:
    found = [path for path in built.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in found) < FOLDER_BYTES
    assert not NOT_OURS & {part for path in found for part in path.relative_to(built).parts}
    # One copy of each of llama.cpp's libraries; another would be another registry of devices.
    engine = [path for path in found if path.name.startswith(("libggml", "libllama", "libmtmd"))]
    assert {path.parent for path in engine} == {built / "_internal/llama_cpp/lib"}
    assert {path.name for path in built.rglob("libllama*") if not path.is_symlink()} == {"libllama.so.0"}
    assert not [path for path in built.rglob("*") if path.is_symlink() and not path.exists()]


def test_the_debian_package(built: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Its contents, and the program from where it puts it. Nothing is run by the installation, and a removal finds
    nothing but files of its own."""
    package = pack(built, tmp_path, "deb")
    listed = say("dpkg-deb", "-c", str(package))
    names = {line.split(" -> ")[0].split()[-1].removeprefix("./") for line in listed.splitlines()}
    expected = {
        "usr/bin/puna", "usr/bin/puna-desktop", "usr/lib/puna/puna", "usr/lib/puna/puna-desktop",
        "usr/lib/systemd/user/puna.service", "usr/share/applications/puna.desktop", "usr/share/doc/puna/copyright",
        "usr/share/icons/hicolor/48x48/apps/puna.png", "usr/share/icons/hicolor/scalable/apps/puna.svg",
        "usr/share/metainfo/app.puna.Puna.metainfo.xml", "usr/lib/puna/_internal/resources/puna-starter.gguf",
    }  # fmt: skip
    assert expected <= names
    assert all(name.startswith("usr/") for name in names - {"", "./"})
    assert all(line.split()[1] == "root/root" for line in listed.splitlines())
    control = say("dpkg-deb", "-I", str(package))
    fields = dict(
        line.strip().split(": ", 1) for line in say("dpkg-deb", "-f", str(package)).splitlines() if ": " in line
    )
    assert fields["Version"] == VERSION
    assert "libc6 (>=" in fields["Depends"]
    assert "libx11" not in fields["Depends"].lower()  # a server without a screen
    assert "libxcb1" in fields["Recommends"]
    assert "libglib" not in fields["Depends"] + fields["Recommends"]  # the folder has it
    assert not {"postinst", "preinst", "prerm", "postrm"} & set(control.split())
    say("dpkg-deb", "-x", str(package), str(tmp_path / "root"))
    done = run(tmp_path / "root/usr/bin/puna", ENGINE.word, "devices", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"CPU"' in done.stdout


def test_the_archive(built: pathlib.Path, tmp_path: pathlib.Path) -> None:
    package = pack(built, tmp_path, "tar")
    say("tar", "--zstd", "-C", str(tmp_path), "-xf", str(package))
    (folder,) = tmp_path.glob("puna-*-linux-*/")
    assert (folder / "share/applications/puna.desktop").is_file()
    done = run(folder / "puna", "--version", home=tmp_path, OLLAMA_HOST=f"127.0.0.1:{free_port()}")
    assert done.returncode == 0, done.stderr


def pack(folder: pathlib.Path, into: pathlib.Path, kind: str) -> pathlib.Path:
    script = pathlib.Path(__file__).parents[2] / "installers/linux/build.py"
    output = say(sys.executable, str(script), "--folder", str(folder), "--into", str(into), "--kind", kind)
    return pathlib.Path(output.rsplit(" (", 1)[0])


def say(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
