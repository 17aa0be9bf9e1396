"""The desktop app around a fake server: `python -m tests.app.desk_app [--scheme=dark|light] [words of the app]`."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QGuiApplication

from app.arguments import read
from app.launch import run
from server.serve.welcome import welcome
from server.settings import Settings
from tests.app.fakes import GIB, FakeLife, FakeServer, running

SCHEMES = {"dark": Qt.ColorScheme.Dark, "light": Qt.ColorScheme.Light}


def prepare(fake: FakeServer) -> None:
    """Three models that run and some that could."""
    now = time.time()
    fake.models = (
        running("llama3.2:3b", size_bytes=int(1.9 * GIB), gpu_bytes=int(1.9 * GIB), active=1, tokens_per_second=41.3,
                used_tokens=812, expires_at=now + 240),
        running("qwen3:8b", size_bytes=int(5.6 * GIB), gpu_bytes=int(4.1 * GIB), used_tokens=3100,
                keep_alive_seconds=-1.0),
        running("nomic-embed-text:latest", size_bytes=int(0.3 * GIB), expires_at=now + 50),
    )  # fmt: skip
    fake.installed = [
        {"name": "mistral:7b", "size": int(4.1 * GIB)},
        {"name": "phi4-mini:latest", "size": int(2.5 * GIB)},
    ]


def new_server(settings: Settings, on_change: Callable[[], None]) -> FakeLife:
    return FakeLife(settings, on_change, prepare)


def log_to(folder: object, level: int) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)


def main() -> int:
    words = sys.argv[1:]
    scheme = next((word.removeprefix("--scheme=") for word in words if word.startswith("--scheme=")), "light")
    QTimer.singleShot(0, lambda: QGuiApplication.styleHints().setColorScheme(SCHEMES[scheme]))
    return run(words, read(words), new_server, log_to, welcome)


if __name__ == "__main__":
    sys.exit(main())
