"""One executable, as a package has it: it is the server, the app, every runner and the converter."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import psutil
import pytest

from server.client import Client, file_digest
from server.programs import CONVERTER, ENGINE
from tests.convert.tiny import llama_folder
from tests.golden.server import running_server

ROOT = pathlib.Path(__file__).parents[2]
# Python in the place of PyInstaller's loader: it tells the program that it is frozen, and which file it is.
EXECUTABLE = """#!{python}
import sys
sys.path.insert(0, {root!r})
sys.frozen, sys.executable = True, __file__
from {module} import main
status = main()
if sys.argv[-1] == "devices":
    sys.stderr.write(" ".join(sys.modules))
sys.exit(status)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script is no executable there")


def executable(folder: pathlib.Path, module: str) -> str:
    path = folder / "puna"
    path.write_text(EXECUTABLE.format(python=sys.executable, root=str(ROOT), module=module))
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("module", ["server.cli.main", "app.__main__"])
def test_a_hidden_word_makes_a_runner_of_it(tmp_path: pathlib.Path, module: str) -> None:
    """The runner lists devices, with the trial of a CPU library in a third process; and it has loaded nothing of what
    the program would have been without the word."""
    command = [executable(tmp_path, module), ENGINE.word, "devices"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)
    loaded = set(done.stderr.split())
    assert "server.engine.process" in loaded
    assert not loaded & {"click", "httpx2", "starlette", "PySide6", "server.settings", "app.launch", "server.cli.frame"}


@pytest.mark.parametrize("module", ["server.cli.main", "app.__main__"])
def test_a_hidden_word_makes_a_converter_of_it(tmp_path: pathlib.Path, module: str) -> None:
    """It ends as its input does."""
    command = [executable(tmp_path, module), CONVERTER.word]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=tmp_path, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_whole_of_puna_is_one_executable(tmp_path: pathlib.Path, models: pathlib.Path) -> None:
    """Converted, quantized and run, with no other program."""
    program = executable(tmp_path, "server.cli.main")
    with running_server({}, [program]) as server, Client(server.base) as client:
        files: dict[str, str] = {}
        for name, data in llama_folder().items():
            path = tmp_path / name
            path.write_bytes(data)
            files[name] = file_digest(path)
            client.upload_blob(path, files[name])
        with client.create({"model": "tiny", "files": files, "quantize": "q8_0"}) as progress:
            assert list(progress)[-1] == {"status": "success"}
        assert client.show("tiny")["details"]["quantization_level"] == "Q8_0"
        with client.generate({"model": "tiny", "prompt": "a", "stream": False, "options": {"num_predict": 1}}) as said:
            assert list(said)[-1]["done"]
        children = psutil.Process(server.process.pid).children()
        assert [child.cmdline()[1:3] for child in children] == [[program, ENGINE.word]]
