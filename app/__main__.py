"""`puna-desktop`: the composition root of the desktop app. Makes sure of Qt before anything imports it."""

from __future__ import annotations

import sys

from app.arguments import read
from server.programs import run_hidden
from server.version import VERSION

NO_QT = (
    "Puna's desktop app needs PySide6, which is not installed. Install it with: pip install 'puna[desktop]'\n"
    "The server and the command line work without it: puna serve\n"
)
BROKEN_QT = (
    "Puna's desktop app cannot load PySide6: {reason}\n"
    "Install the missing part with your system's package manager, or use the server without it: puna serve\n"
)
UNSAFE_QT = (
    "PySide6 {version} ends programs that run on Python {python}: it gives back more references than it took.\n"
    "Use Python 3.12 or newer, or install another version: pip install 'PySide6-Essentials==6.11.*'\n"
)
NO_SERVE = "serve command not supported, use puna serve\n"


def main() -> int:
    """Returns the exit status."""
    words = sys.argv[1:]
    if (status := run_hidden(words)) is not None:
        return status
    arguments = read(words)
    if arguments.wants_version:
        sys.stdout.write(f"Puna {VERSION}\n")
        return 0
    if arguments.wants_serve:
        sys.stderr.write(NO_SERVE)
        return 1
    if reason := qt_fault():
        sys.stderr.write(reason)
        return 1
    from app.launch import run
    from server.serve import BackgroundServer
    from server.serve.logs import log_to_file
    from server.serve.welcome import welcome

    return run(words, arguments, BackgroundServer, log_to_file, welcome)


def qt_fault() -> str:
    """Why Qt cannot be used; "" when it can."""
    try:
        import PySide6
        from PySide6.QtCore import QObject
        from PySide6.QtWidgets import QApplication  # noqa: F401
    except ModuleNotFoundError:
        return NO_QT
    except ImportError as error:
        return BROKEN_QT.format(reason=error)
    # PySide6 6.12.0 takes None for immortal, which it is from Python 3.12 on; before, a few thousand calls end the
    # process. Measured, so that a repaired version is welcome by itself.
    thing, before = QObject(), sys.getrefcount(None)
    for _ in range(100):
        thing.setObjectName("")
    if before - sys.getrefcount(None) > 50:
        return UNSAFE_QT.format(version=PySide6.__version__, python=sys.version.split()[0])
    return ""


if __name__ == "__main__":
    sys.exit(main())
