"""One app per user and data folder."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from PySide6.QtNetwork import QLocalSocket
from PySide6.QtWidgets import QApplication

from app.instance import Instance
from tests.app.conftest import Until, forget

SECOND = """
import os, pathlib, sys
from PySide6.QtCore import QCoreApplication
from app.instance import Instance
application = QCoreApplication([])
instance = Instance(pathlib.Path(sys.argv[1]))
os._exit(10 + instance.claim(sys.argv[2:]))
"""
HANDED_OVER, WAS_FIRST = 10, 11
pytestmark = pytest.mark.usefixtures("application")


def later_start(folder: pathlib.Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SECOND, str(folder), *words])


def test_a_later_start_hands_over_its_words(tmp_path: pathlib.Path, until: Until) -> None:
    first = Instance(tmp_path)
    assert first.claim([])
    heard: list[list[str]] = []
    first.called.connect(heard.append)
    second = later_start(tmp_path, "--hide", "ünïcode")
    until(lambda: second.poll() is not None)
    assert second.returncode == HANDED_OVER
    assert heard == [["--hide", "ünïcode"]]
    first.release()
    forget(first)


def test_what_a_dead_app_left_does_not_stop_a_new_one(tmp_path: pathlib.Path, until: Until) -> None:
    dead = later_start(tmp_path)
    assert dead.wait(30) == WAS_FIRST
    assert len(list(tmp_path.glob("app-*.lock"))) == 1
    after = Instance(tmp_path)
    assert after.claim([])
    after.release()
    forget(after)


def test_another_folder_is_another_app(tmp_path: pathlib.Path, until: Until) -> None:
    first = Instance(tmp_path / "a")
    assert first.claim([])
    other = later_start(tmp_path / "b")
    until(lambda: other.poll() is not None)
    assert other.returncode == WAS_FIRST
    first.release()
    forget(first)


def test_a_stranger_that_talks_nonsense_is_heard_as_a_start_without_words(
    tmp_path: pathlib.Path, application: QApplication, until: Until
) -> None:
    first = Instance(tmp_path)
    assert first.claim([])
    heard: list[list[str]] = []
    first.called.connect(heard.append)
    stranger = QLocalSocket()
    stranger.connectToServer(first.name)
    stranger.write(b"\xff\xfe nonsense\n")
    stranger.flush()
    until(lambda: heard)
    assert heard == [[]]
    stranger.abort()
    first.release()
    forget(first)
