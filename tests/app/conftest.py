"""Qt without a display: one application for all tests of a process, and waiting that lets Qt work meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

# Before Qt is imported: it chooses its platform once.
os.environ["QT_QPA_PLATFORM"] = "offscreen"

from PySide6.QtCore import QEvent, QEventLoop, QObject, QTimer
from PySide6.QtWidgets import QApplication

from app.desk import Desk
from server.settings import Settings
from tests.app.fakes import FakeLife, FakeServer

Until = Callable[..., None]
PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="session")
def application() -> QApplication:
    existing = QApplication.instance()
    application = existing if isinstance(existing, QApplication) else QApplication(["puna-test"])
    application.setQuitOnLastWindowClosed(False)
    return application


@pytest.fixture
def until(application: QApplication) -> Iterator[Until]:
    """`until(condition)` lets Qt work until the condition holds."""

    def wait(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        tick = QTimer(interval=10)
        tick.start()
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds:g} s in vain"
            application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)

    yield wait
    application.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def puna() -> Iterator[FakeServer]:
    """A running server that is not the app's own."""
    fake = FakeServer()
    yield fake
    fake.close()


class Lives:
    """Makes server lives and remembers them."""

    def __init__(self) -> None:
        self.made: list[FakeLife] = []

    def __call__(self, settings: Settings, on_change: Callable[[], None]) -> FakeLife:
        self.made.append(FakeLife(settings, on_change))
        return self.made[-1]

    @property
    def fake(self) -> FakeServer:
        """The newest server."""
        fake = self.made[-1].fake
        assert fake is not None
        return fake


@pytest.fixture
def lives() -> Lives:
    return Lives()


@pytest.fixture
def desk(application: QApplication, lives: Lives, until: Until) -> Iterator[Desk]:
    """A desk whose own server takes any free port."""
    desk = Desk(Settings(port=0), lives)
    yield desk
    desk.close(10.0)
    forget(desk)


def forget(thing: QObject) -> None:
    """Delete a Qt object now, not when Python happens to collect it."""
    thing.deleteLater()
    QApplication.sendPostedEvents(thing, QEvent.Type.DeferredDelete)
