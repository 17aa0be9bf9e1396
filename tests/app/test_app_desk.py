"""What the user wants reaches the server, and what the server does reaches menu and window."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QColor, QGuiApplication, QPalette
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QMenu, QPushButton

from app.desk import Desk
from app.menu import TrayMenu
from app.parts import QuietLabel
from app.port import PortConflict
from app.questions import PortDialog, about_box, quit_box
from app.situation import Installed
from app.status_window import StatusWindow
from app.tray import Tray
from server.settings import Settings
from tests.app.conftest import Lives, Until, forget
from tests.app.fakes import FakeServer, running


@pytest.fixture
def ready(desk: Desk, lives: Lives, until: Until) -> Desk:
    desk.start()
    until(lambda: desk.situation.is_up)
    lives.fake.installed = [{"name": "phi4", "size": 5}, {"name": "llama", "size": 6}]
    lives.fake.show(running("llama"), running("qwen", active=1))
    until(lambda: len(desk.situation.models) == 2)
    return desk


@pytest.fixture
def menu(ready: Desk) -> Iterator[TrayMenu]:
    menu = TrayMenu(ready)
    yield menu
    forget(menu.menu)
    forget(menu)


@pytest.fixture
def window(ready: Desk) -> Iterator[StatusWindow]:
    window = StatusWindow(ready)
    yield window
    window.hide()
    forget(window)


def labels(menu: TrayMenu) -> list[str]:
    """The rows that are shown."""
    return [action.text() for action in menu.menu.actions() if action.isVisible() and not action.isSeparator()]


def row(menu: TrayMenu, start: str) -> QAction:
    return next(action for action in menu.menu.actions() if action.text().startswith(start))


def entry(menu: TrayMenu, model: str, label: str) -> QAction:
    """An entry of a model's submenu."""
    return next(action for action in entries(row(menu, model)) if action.text().startswith(label))


def entries(action: QAction) -> list[QAction]:
    """What a submenu holds."""
    submenu = action.menu()
    assert isinstance(submenu, QMenu)
    return submenu.actions()


# ---- the desk --------------------------------------------------------------------------------------------------------


def test_unload_keep_and_load(ready: Desk, lives: Lives, until: Until) -> None:
    ready.unload("llama")
    assert lives.fake.wait_for_call("/api/generate") == {"model": "llama", "stream": False, "keep_alive": 0}
    until(lambda: [model.name for model in ready.situation.models] == ["qwen"])
    ready.keep("qwen", True)
    until(lambda: ready.situation.models[0].keep_alive_seconds == -1)
    ready.keep("qwen", False)
    until(lambda: ready.situation.models[0].keep_alive_seconds == 300)
    assert lives.fake.calls[-1][1]["keep_alive"] == "300s"
    ready.load("phi4")
    until(lambda: "phi4" in [model.name for model in ready.situation.models])
    ready.refresh_installed()
    until(lambda: ready.situation.installed[:1] == (Installed("phi4", 5),))


def test_a_refusal_is_told_with_the_servers_sentence(ready: Desk, lives: Lives, until: Until) -> None:
    told: list[tuple[str, str]] = []
    ready.failed.connect(lambda title, sentence: told.append((title, sentence)))
    lives.fake.refusal = (500, "the model needs 40 GiB, and 8 GiB are free")
    ready.load("phi4")
    until(lambda: told)
    assert told == [("notice.action", "the model needs 40 GiB, and 8 GiB are free")]
    assert ready.situation.notice == told[0][1]
    ready.dismiss()
    assert ready.situation.notice == ""


def test_models_that_only_embed_are_kept_by_embedding_nothing(ready: Desk, lives: Lives) -> None:
    lives.fake.refusal = (400, '"qwen" does not support generate')
    ready.keep("qwen", True)
    assert lives.fake.wait_for_call("/api/embed") == {"model": "qwen", "input": [], "keep_alive": -1}


def test_a_taken_port_is_a_question_and_another_port_an_answer(
    desk: Desk, lives: Lives, puna: FakeServer, until: Until
) -> None:
    desk.use_port(puna.port)
    until(lambda: desk.conflict)
    conflict = desk.conflict
    assert conflict is not None
    assert conflict.kind == "puna"
    assert desk.situation.question
    desk.use_port(conflict.free_port)
    until(lambda: desk.situation.is_up)
    assert not desk.situation.question
    assert desk.situation.port == conflict.free_port
    assert puna.calls == []


@pytest.mark.parametrize("kind", ["puna", "ollama"])
def test_the_running_server_can_be_used_and_is_never_ended(desk: Desk, until: Until, kind: str) -> None:
    other = FakeServer(kind=kind, models=(running("theirs"),))
    try:
        desk.use_port(other.port)
        until(lambda: desk.conflict)
        desk.use_running()
        until(lambda: desk.situation.models)
        assert desk.situation.borrowed == kind
        assert desk.situation.models[0].name == "theirs"
        desk.quit()
        assert not other.is_stopped
    finally:
        desk.close(10.0)
        other.close()


def test_an_own_server_takes_over_from_a_borrowed_one_that_has_gone(desk: Desk, until: Until) -> None:
    other = FakeServer(kind="ollama")
    desk.use_port(other.port)
    until(lambda: desk.conflict)
    desk.use_running()
    desk.watch(True)
    other.close()
    until(lambda: desk.situation.is_lost)
    desk.start()
    until(lambda: desk.situation.is_up and not desk.situation.borrowed)
    assert desk.situation.url == other.url


def test_the_address_is_the_one_that_was_found(ready: Desk, lives: Lives) -> None:
    assert ready.situation.address == f"127.0.0.1:{lives.fake.port}"


def test_an_answer_that_ends_with_a_stop_is_no_failure(ready: Desk, until: Until) -> None:
    told: list[str] = []
    ready.failed.connect(lambda title, sentence: told.append(sentence))
    ready.stop()
    until(lambda: ready.situation.server == "stopped")
    assert told == []
    assert ready.situation.models == ()


# ---- the menu --------------------------------------------------------------------------------------------------------


def test_the_menu_shows_what_runs(menu: TrayMenu, ready: Desk) -> None:
    """desktop 13 in the order of the design, as far as it exists."""
    shown = labels(menu)
    assert shown[0] == f"Puna — working on {ready.situation.address}"
    assert shown[1].startswith("llama — 2.0 GiB CPU · idle")
    assert shown[2].startswith("qwen — 2.0 GiB CPU · working")
    assert shown[3:] == ["Load a model", "Stop server", "Restart server", "Show status", "Open log folder",
                         "About Puna", "Quit Puna"]  # fmt: skip


def test_rows_are_updated_in_place(menu: TrayMenu, ready: Desk, lives: Lives, until: Until) -> None:
    before = row(menu, "qwen")
    lives.fake.show(running("qwen", active=1, tokens_per_second=55.0), running("new"))
    until(lambda: "55 tok/s" in before.text())
    assert row(menu, "qwen") == before
    assert [label.partition(" ")[0] for label in labels(menu)[1:3]] == ["qwen", "new"]
    lives.fake.show()
    until(lambda: "No model is loaded" in labels(menu))


def test_models_are_unloaded_and_kept_from_the_menu(menu: TrayMenu, ready: Desk, lives: Lives, until: Until) -> None:
    entry(menu, "qwen", "Keep loaded").trigger()
    until(lambda: entry(menu, "qwen", "Keep loaded").isChecked() and "kept loaded" in row(menu, "qwen").text())
    entry(menu, "llama", "Copy name").trigger()
    assert QGuiApplication.clipboard().text() == "llama"
    entry(menu, "llama", "Unload now").trigger()
    until(lambda: all(not label.startswith("llama") for label in labels(menu)))


def test_a_model_is_loaded_from_the_menu(menu: TrayMenu, ready: Desk, until: Until) -> None:
    ready.watch(True)
    load = row(menu, "Load a model")
    until(lambda: [action.text() for action in entries(load) if action.isVisible()] == ["phi4 — 0 MiB"])
    entries(load)[-1].trigger()
    until(lambda: any(label.startswith("phi4 — ") for label in labels(menu)))


def test_the_headline_copies_the_address(menu: TrayMenu, ready: Desk) -> None:
    row(menu, "Puna — ").trigger()
    assert QGuiApplication.clipboard().text() == ready.situation.url


def test_the_server_is_stopped_and_started_from_the_menu(menu: TrayMenu, ready: Desk, until: Until) -> None:
    row(menu, "Stop server").trigger()
    until(lambda: ready.situation.server == "stopped")
    assert labels(menu)[:2] == ["Puna — stopped", "Start server"]
    row(menu, "Start server").trigger()
    until(lambda: ready.situation.is_up)
    assert "Restart server" in labels(menu)


# ---- the window ------------------------------------------------------------------------------------------------------


def buttons(window: StatusWindow) -> dict[str, QAbstractButton]:
    """Visible buttons by what a screen reader says."""
    found = window.findChildren(QAbstractButton)
    return {button.accessibleName() or button.text(): button for button in found if button.isVisible()}


def test_the_window_offers_what_the_menu_does(window: StatusWindow, ready: Desk, until: Until) -> None:
    window.present()
    until(lambda: len(ready.situation.installed) == 2)
    assert set(buttons(window)) == {
        "Copy address", "Unload now: llama", "Unload now: qwen", "Keep loaded: llama", "Keep loaded: qwen",
        "Load a model", "Stop server", "Restart server", "More", "Quit Puna",
    }  # fmt: skip
    QTest.mouseClick(buttons(window)["Unload now: llama"], Qt.MouseButton.LeftButton)
    until(lambda: "Unload now: llama" not in buttons(window))


def test_the_window_can_be_walked_with_the_keyboard(window: StatusWindow, until: Until) -> None:
    window.present()
    until(lambda: window.isActiveWindow())
    reached = set()
    for _ in range(30):
        QTest.keyClick(window, Qt.Key.Key_Tab)
        if isinstance(focused := window.focusWidget(), QAbstractButton):
            reached.add(focused)
    assert reached == {button for button in buttons(window).values() if button.isEnabled()}


def test_closing_hides_with_a_tray_and_minimises_without(window: StatusWindow) -> None:
    """desktop 10: closing the window keeps app and server running."""
    window.present()
    window.close()
    assert not window.isVisible()
    window.has_tray = False
    window.present()
    window.close()
    assert window.isMinimized()


def test_without_a_tray_the_window_says_how_to_get_one(window: StatusWindow) -> None:
    window.has_tray = False
    window.present()
    assert any("AppIndicator" in label.text() for label in window.findChildren(QLabel) if label.isVisible())


def test_quiet_text_follows_a_change_from_light_to_dark(application: QApplication) -> None:
    label = QuietLabel("quiet")
    before = application.palette()
    try:
        dark = QPalette(QColor("#202020"))
        application.setPalette(dark)
        application.processEvents()
        shown = label.palette().color(QPalette.ColorRole.WindowText)
        assert shown.lightness() == dark.color(QPalette.ColorRole.WindowText).lightness()
        assert 0.5 < shown.alphaF() < 0.8
    finally:
        application.setPalette(before)
        forget(label)


def test_an_error_stays_in_the_window_until_dismissed(
    window: StatusWindow, ready: Desk, lives: Lives, until: Until
) -> None:
    lives.fake.refusal = (500, "out of memory")
    window.present()
    ready.load("phi4")
    until(lambda: "Dismiss" in buttons(window))
    buttons(window)["Copy details"].click()
    assert QGuiApplication.clipboard().text() == "out of memory"
    buttons(window)["Dismiss"].click()
    assert "Dismiss" not in buttons(window)


# ---- tray and questions ----------------------------------------------------------------------------------------------


def test_a_tray_that_never_comes_is_missed_and_one_that_comes_late_is_found(menu: TrayMenu, ready: Desk) -> None:
    there: list[bool] = []
    tray = Tray(ready, menu.menu, wait_seconds=2.0, is_available=lambda: bool(there))
    news: list[str] = []
    tray.missing.connect(lambda: news.append("missing"))
    tray.found.connect(lambda: news.append("found"))
    for _ in range(5):
        tray.look()
    assert news == ["missing"]
    there.append(True)
    tray.look()
    assert news == ["missing", "found"]
    assert tray.icon is not None
    assert tray.icon.toolTip().startswith("Working on 127.0.0.1")
    tray.hide()
    forget(tray)


@pytest.mark.parametrize(("kind", "offered"), [
    ("ollama", ["Quit", "Use port 11435 instead", "Use the running server"]),
    ("other", ["Quit", "Use port 11435 instead"]),
    ("none", ["Quit", "Start on port 11434"]),
])  # fmt: skip
def test_the_question_about_the_port(application: object, kind: str, offered: list[str]) -> None:
    dialog = PortDialog(PortConflict(kind, "127.0.0.1", 11434, 11435))  # type: ignore[arg-type]
    chosen: list[object] = []
    dialog.use_port.connect(chosen.append)
    dialog.use_running.connect(lambda: chosen.append("running"))
    dialog.show()
    assert [button.text() for button in dialog.findChildren(QPushButton)] == offered
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    assert chosen == [{"ollama": "running", "other": 11435, "none": 11434}[kind]]
    assert not dialog.isVisible()


def test_quitting_while_work_runs_stays_unless_it_is_confirmed(application: object) -> None:
    box = quit_box("a is answering 1 request, which would end unfinished.")
    answers: list[str] = []
    box.accepted.connect(lambda: answers.append("quit"))
    box.rejected.connect(lambda: answers.append("stay"))
    box.show()
    QTest.keyClick(box, Qt.Key.Key_Escape)
    assert answers == ["stay"]
    again = quit_box("a is answering 1 request, which would end unfinished.")
    again.accepted.connect(lambda: answers.append("quit"))
    again.show()
    next(button for button in again.buttons() if button.text() == "Quit anyway").click()
    assert answers == ["stay", "quit"]


def test_about_names_both_versions(application: object) -> None:
    box = about_box()
    assert "Puna 0.1.0" in box.informativeText()
    assert "Ollama 0.33.0" in box.informativeText()
    forget(box)


def test_a_server_open_to_the_network_says_so(application: object, lives: Lives) -> None:
    desk = Desk(Settings(host="0.0.0.0", port=11434), lives)
    assert desk.situation.is_exposed
    assert desk.situation.address == "0.0.0.0:11434"
    desk.close(0.0)
    forget(desk)
