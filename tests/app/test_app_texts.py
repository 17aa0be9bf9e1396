"""The catalogue of texts, and the command line of the app."""

from __future__ import annotations

import pathlib
import re
import string
import subprocess
import sys

import pytest

from app.__main__ import qt_fault
from app.arguments import Arguments, read
from app.i18n import CATALOGUES, ENGLISH, text
from app.instance import instance_name, read_arguments

APP = pathlib.Path(__file__).parents[2] / "app"
AREAS = "|".join(sorted({key.partition(".")[0] for key in ENGLISH}))
USED = re.compile(rf'"((?:{AREAS})\.[a-z_.]+)"')
BUILT = {"state.", "state.borrowed.", "port.title.", "port.text.", "models.", "requests.", "quit.text."}


def test_every_text_is_used_and_every_used_text_exists() -> None:
    used = {key for path in APP.glob("*.py") if path.name != "i18n.py" for key in USED.findall(path.read_text("utf-8"))}
    assert {key for key in used if key not in ENGLISH and f"{key}.one" not in ENGLISH} == set()
    unused = {key for key in ENGLISH if key not in used and not any(key.startswith(prefix) for prefix in BUILT)}
    assert unused == set()


@pytest.mark.parametrize("language", sorted(CATALOGUES))
def test_languages_have_the_same_keys_and_values(language: str) -> None:
    catalogue = CATALOGUES[language]
    assert catalogue.keys() == ENGLISH.keys()
    for key, template in ENGLISH.items():
        assert _fields(catalogue[key]) == _fields(template), key


def test_a_text_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError):
        text("no.such_text")


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ([], Arguments()),
        (["--hide"], Arguments(is_hidden=True)),
        (["hidden"], Arguments(is_hidden=True)),
        (["-v"], Arguments(wants_version=True)),
        (["serve"], Arguments(wants_serve=True)),
        (["--tray-seconds=0", "--of-the-future"], Arguments(tray_seconds=0.0)),
        (["--tray-seconds=soon"], Arguments()),
    ],
)
def test_arguments(words: list[str], arguments: Arguments) -> None:
    assert read(words) == arguments


@pytest.mark.parametrize("line", [b"", b"nonsense", b'{"a": 1}', b"[1, null]"])
def test_a_stranger_on_the_instance_socket_says_nothing(line: bytes) -> None:
    assert read_arguments(line) == []


def test_instances_are_told_apart_by_user_and_folder() -> None:
    here, there = pathlib.Path("/a"), pathlib.Path("/b")
    assert instance_name("me", here) == instance_name("me", here)
    assert len({instance_name("me", here), instance_name("you", here), instance_name("me", there)}) == 3


def _app(*words: str, before: str = "pass") -> subprocess.CompletedProcess[str]:
    argv = ["puna-desktop", *words]
    code = f"import sys; sys.argv = {argv!r}; {before}; from app.__main__ import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_version_needs_no_window() -> None:
    """desktop 2: `--version` prints the version and exits 0."""
    done = _app("--version", before="sys.modules['PySide6'] = None")
    assert (done.returncode, done.stdout) == (0, "Puna 0.1.0\n")


def test_serve_is_the_command_lines_word() -> None:
    """desktop 3."""
    done = _app("serve")
    assert (done.returncode, done.stderr) == (1, "serve command not supported, use puna serve\n")


def test_this_pyside6_can_be_used() -> None:
    """A failure says which other version to install."""
    assert qt_fault() == ""


def test_without_pyside6_it_says_how_to_get_it() -> None:
    done = _app(before="sys.modules['PySide6'] = None")
    assert done.returncode == 1
    assert "pip install 'puna[desktop]'" in done.stderr
    assert "Traceback" not in done.stderr
