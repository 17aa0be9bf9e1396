"""One run of the desktop app: one instance, settings, log files, and the shell with its server."""

from __future__ import annotations

import logging
import os
import pathlib
import sys
from collections.abc import Callable

from PySide6.QtWidgets import QApplication

from app.arguments import Arguments
from app.engine import Engine, NewServer
from app.icon import app_icon
from app.instance import Instance
from app.questions import problem_box
from app.shell import Shell
from server.errors import PunaError
from server.settings import load, paths

LogTo = Callable[[pathlib.Path, int], object]


def run(
    words: list[str], arguments: Arguments, new_server: NewServer, log_to: LogTo, welcome: Callable[[str], str]
) -> int:
    """Show the app until it is quit, or let the app that runs already show itself. Returns the exit status.

    `log_to` sends the log into a folder, at a level of the logging module. `welcome` makes of the server's address
    what a person at a terminal reads.
    """
    application = QApplication(sys.argv[:1])
    application.setApplicationName("puna")
    application.setApplicationDisplayName("Puna")
    application.setDesktopFileName("puna")
    application.setWindowIcon(app_icon())
    # The tray outlives every window.
    application.setQuitOnLastWindowClosed(False)
    try:
        instance = Instance(paths.state_dir())
        if not instance.claim(words):
            _say("Puna runs already; its window is shown.")
            return 0
    except PunaError as error:
        return _refuse(error)
    try:
        settings = load()
        log_to(paths.log_dir(), settings.log_level)
        shell = Shell(application, settings, new_server, arguments, paths.log_dir())
        instance.called.connect(shell.show)
        shell.desk.engine.changed.connect(Welcome(shell.desk.engine, welcome))
        shell.start()
        status = application.exec()
        if shell.is_stuck:
            # Python would wait for the server's thread for ever, and a later start for this process.
            logging.shutdown()
            os._exit(status)
        return status
    except PunaError as error:
        return _refuse(error)
    finally:
        instance.release()


class Welcome:
    """Tells a person at the terminal once where the server is."""

    def __init__(self, engine: Engine, words: Callable[[str], str]) -> None:
        self._engine = engine
        self._words = words
        self._is_said = False

    def __call__(self) -> None:
        if self._engine.url and not self._is_said:
            self._is_said = True
            _say(self._words(self._engine.url))


def _say(text: str) -> None:
    if sys.stdout is not None:  # there is none in a program without a console
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _refuse(error: PunaError) -> int:
    """Say why Puna does not start, to a person at a desktop and to one at a terminal."""
    sys.stderr.write(f"Error: {error}\n")
    problem_box(str(error)).exec()
    return 1
