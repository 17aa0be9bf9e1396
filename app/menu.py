"""The tray's menu: built once, then updated in place, also while it is open."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QAction, QGuiApplication, QKeySequence
from PySide6.QtWidgets import QMenu

from app.desk import Desk
from app.i18n import text
from app.rows import LoadRow, MenuRows, ModelRow, menu_label, menu_rows, row_label

REFRESH_MILLISECONDS = 1_000


class TrayMenu(QObject):
    """Shows what `menu_rows` says; sends what is chosen to the desk, and the rest out as signals."""

    status_wanted = Signal()
    question_wanted = Signal()
    logs_wanted = Signal()
    about_wanted = Signal()
    quit_wanted = Signal()

    def __init__(self, desk: Desk, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.menu = QMenu()
        self._models: dict[str, _ModelEntry] = {}
        self._build()
        # Only an open menu shows times that run.
        self._clock = QTimer(self, interval=REFRESH_MILLISECONDS)
        self._clock.timeout.connect(self.refresh)
        self.menu.aboutToShow.connect(self._opened)
        self.menu.aboutToHide.connect(self._closed)
        desk.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Bring every row up to date."""
        rows = menu_rows(self._desk.situation, time.time())
        self._headline.setText(menu_label(rows.headline))
        self._headline.setEnabled(rows.can_copy)
        _show_text(self._problem, rows.problem)
        _show_text(self._question, rows.question)
        _show_text(self._empty, rows.empty)
        _show_text(self._borrowed, rows.borrowed)
        self._refresh_models(rows.models)
        self._load.refresh(rows.loadable)
        self._load.menu.menuAction().setVisible(rows.can_load)
        self._refresh_server(rows)
        if self.menu.isVisible():
            self._stay_on_screen()

    def _build(self) -> None:
        menu = self.menu
        self._headline = _add(menu, "", self._copy_address)
        menu.addSeparator()
        self._problem = _add(menu, "", self.status_wanted.emit)
        self._question = _add(menu, "", self.question_wanted.emit)
        self._empty = _add(menu, "", lambda: None)
        self._empty.setEnabled(False)
        self._load = _LoadMenu(self._desk.load)
        menu.addMenu(self._load.menu)
        menu.addSeparator()
        self._borrowed = _add(menu, "", lambda: None)
        self._borrowed.setEnabled(False)
        self._start = _add(menu, text("action.start"), self._desk.start)
        self._stop = _add(menu, text("action.stop"), self._desk.stop)
        self._restart = _add(menu, text("action.restart"), self._desk.restart)
        menu.addSeparator()
        _add(menu, text("action.status"), self.status_wanted.emit)
        _add(menu, text("action.logs"), self.logs_wanted.emit)
        _add(menu, text("action.about"), self.about_wanted.emit).setMenuRole(QAction.MenuRole.AboutRole)
        menu.addSeparator()
        leave = _add(menu, text("action.quit"), self.quit_wanted.emit)
        leave.setShortcut(QKeySequence(QKeySequence.StandardKey.Quit))
        leave.setMenuRole(QAction.MenuRole.QuitRole)

    def _refresh_models(self, rows: tuple[ModelRow, ...]) -> None:
        """Entries keep their action as long as their model runs; an open submenu stays open."""
        names = {row.name for row in rows}
        for name in [name for name in self._models if name not in names]:
            entry = self._models.pop(name)
            self.menu.removeAction(entry.menu.menuAction())
            entry.menu.deleteLater()
        for row in rows:
            entry = self._models.get(row.name) or self._new_entry(row.name)
            entry.refresh(row)

    def _new_entry(self, name: str) -> _ModelEntry:
        entry = _ModelEntry(name, self._desk)
        self._models[name] = entry
        self.menu.insertMenu(self._load.menu.menuAction(), entry.menu)
        return entry

    def _refresh_server(self, rows: MenuRows) -> None:
        self._start.setVisible(rows.can_start)
        self._stop.setVisible(rows.can_stop)
        self._restart.setVisible(rows.can_stop)

    def _stay_on_screen(self) -> None:
        """An open menu that grows does so to the right and down, where the tray and the screen's edge are."""
        screen = self.menu.screen().availableGeometry()
        size = self.menu.sizeHint()
        place = self.menu.pos()
        x = max(screen.left(), min(place.x(), screen.right() + 1 - size.width()))
        y = max(screen.top(), min(place.y(), screen.bottom() + 1 - size.height()))
        if (x, y) != (place.x(), place.y()):
            self.menu.move(x, y)

    def _opened(self) -> None:
        self._desk.watch(True)
        self.refresh()
        self._clock.start()

    def _closed(self) -> None:
        self._clock.stop()
        self._desk.watch(False)

    def _copy_address(self) -> None:
        QGuiApplication.clipboard().setText(self._desk.situation.url)


class _ModelEntry:
    """One running model and its submenu."""

    def __init__(self, name: str, desk: Desk) -> None:
        self.menu = QMenu()
        self._unload = _add(self.menu, text("action.unload"), lambda: desk.unload(name))
        self._keep = _add(self.menu, text("action.keep"), lambda: desk.keep(name, self._keep.isChecked()))
        self._keep.setCheckable(True)
        _add(self.menu, text("action.copy_name"), lambda: QGuiApplication.clipboard().setText(name))

    def refresh(self, row: ModelRow) -> None:
        self.menu.setTitle(row_label(row.name, row.detail))
        self._unload.setEnabled(row.can_unload)
        self._keep.setEnabled(row.can_unload)
        self._keep.setChecked(row.is_kept)


class _LoadMenu:
    """The models that can be loaded."""

    def __init__(self, load: Callable[[str], None]) -> None:
        self.menu = QMenu(text("action.load"))
        self._load = load
        self._rows: tuple[LoadRow, ...] = ()
        self._none = _add(self.menu, text("menu.none_installed"), lambda: None)
        self._none.setEnabled(False)
        self._actions: list[QAction] = []

    def refresh(self, rows: tuple[LoadRow, ...]) -> None:
        """Actions are used again for other models; only their number changes."""
        if rows == self._rows:
            return
        self._rows = rows
        while len(self._actions) > len(rows):
            gone = self._actions.pop()
            self.menu.removeAction(gone)
            gone.deleteLater()
        while len(self._actions) < len(rows):
            self._actions.append(_add(self.menu, "", partial(self._chosen, len(self._actions))))
        for action, row in zip(self._actions, rows, strict=True):
            action.setText(row_label(row.name, row.size))
        self._none.setVisible(not rows)

    def _chosen(self, index: int) -> None:
        self._load(self._rows[index].name)


def _add(menu: QMenu, label: str, chosen: Callable[[], object]) -> QAction:
    action = menu.addAction(label)
    action.triggered.connect(lambda checked=False: chosen())
    return action


def _show_text(action: QAction, label: str) -> None:
    action.setText(menu_label(label))
    action.setVisible(bool(label))
