"""A small window with all that the tray offers, for desktops without a tray and for a look without a menu."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QGuiApplication, QHideEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QMenu, QPushButton, QScrollArea, QVBoxLayout, QWidget

from app import desktop
from app.cards import ModelCards
from app.desk import Desk
from app.figure import figure_of
from app.i18n import text
from app.icon import app_icon, tray_image
from app.measures import shortened
from app.parts import Banner, Picture, QuietLabel, enlarged
from app.rows import LoadRow, MenuRows, menu_rows, row_label
from app.situation import icon_state, state_text

REFRESH_MILLISECONDS = 1_000
DETAILS_LIMIT = 300


class StatusWindow(QWidget):
    """`has_tray`: closing hides it then; without a tray closing only minimises, or Puna could not be reached."""

    question_wanted = Signal()
    logs_wanted = Signal()
    about_wanted = Signal()
    quit_wanted = Signal()

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.has_tray = True
        self._is_sized = False
        self._rows: tuple[LoadRow, ...] | None = None
        self.setWindowTitle(text("window.title"))
        self.setWindowIcon(app_icon())
        self._build()
        self._clock = QTimer(self, interval=REFRESH_MILLISECONDS)
        self._clock.timeout.connect(self.refresh)
        desk.changed.connect(self._changed)
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._changed)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Quit), self, self.quit_wanted.emit)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Close), self, self.close)

    def present(self) -> None:
        """Show it, in front: somebody asked for it."""
        self.refresh()
        if not self._is_sized:
            self._is_sized = True
            self.resize(self.sizeHint().boundedTo(self.screen().availableSize()))
        if self.isMinimized():
            self.showNormal()
        self.show()
        self.raise_()
        self.activateWindow()

    def refresh(self) -> None:
        situation = self._desk.situation
        rows = menu_rows(situation, time.time())
        figure = figure_of(icon_state(situation), exposed=situation.is_exposed)
        self._picture.show_image(tray_image(figure, self._picture.pixels, dark=desktop.is_dark(), mask=False))
        self._state.setText(state_text(situation))
        self._url.setText(" · ".join(part for part in (situation.url, rows.borrowed) if part))
        self._url.setVisible(bool(situation.url))
        self._copy.setVisible(rows.can_copy)
        self._no_tray_banner.setVisible(not self.has_tray)
        self._refresh_problem(rows)
        self._cards.refresh(rows.models, is_up=situation.is_up)
        self._refresh_buttons(rows)

    def sizeHint(self) -> QSize:
        return QSize(640, 560)

    def closeEvent(self, event: QCloseEvent) -> None:
        event.ignore()
        if self.has_tray:
            self.hide()
        else:
            self.showMinimized()

    def showEvent(self, event: QShowEvent) -> None:
        self._clock.start()
        self._desk.watch(True)

    def hideEvent(self, event: QHideEvent) -> None:
        self._clock.stop()
        self._desk.watch(False)

    def _changed(self) -> None:
        if self.isVisible():
            self.refresh()

    # ---- the parts ---------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        whole = QVBoxLayout(self)
        whole.setContentsMargins(20, 18, 20, 16)
        whole.setSpacing(12)
        whole.addLayout(self._header())
        no_tray = _banner_label(text("window.no_tray"))
        self._no_tray_banner = _banner(no_tray)
        whole.addWidget(self._no_tray_banner)
        whole.addWidget(self._problem_banner())
        heading = QuietLabel(text("window.running"))
        enlarged(heading, 0.95, bold=True)
        whole.addSpacing(2)
        whole.addWidget(heading)
        self._cards = ModelCards(self._desk)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.viewport().setAutoFillBackground(False)
        area.setWidget(self._cards)
        self._cards.setAutoFillBackground(False)
        whole.addWidget(area, 1)
        whole.addLayout(self._footer())

    def _header(self) -> QHBoxLayout:
        self._picture = Picture(44)
        self._state = QLabel()
        self._state.setWordWrap(True)
        enlarged(self._state, 1.35, bold=True)
        self._url = QuietLabel()
        self._url.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addStretch(1)
        words.addWidget(self._state)
        words.addWidget(self._url)
        words.addStretch(1)
        self._copy = QPushButton(text("action.copy_address"))
        self._copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(self._desk.situation.url))
        header = QHBoxLayout()
        header.setSpacing(14)
        header.addWidget(self._picture)
        header.addLayout(words, 1)
        header.addWidget(self._copy)
        return header

    def _problem_banner(self) -> QWidget:
        self._problem = _banner_label()
        self._choose = _button(text("action.choose"), self.question_wanted.emit)
        self._details = _button(text("action.copy_details"), self._copy_details)
        self._dismiss = _button(text("action.dismiss"), self._desk.dismiss)
        self._problem_frame = _banner(self._problem, self._choose, self._details, self._dismiss)
        return self._problem_frame

    def _footer(self) -> QHBoxLayout:
        self._load_menu = QMenu(self)
        self._load = QPushButton(text("action.load"))
        self._load.setMenu(self._load_menu)
        self._start = _button(text("action.start"), self._desk.start)
        self._stop = _button(text("action.stop"), self._desk.stop)
        self._restart = _button(text("action.restart"), self._desk.restart)
        more = QMenu(self)
        more.addAction(text("action.logs"), self.logs_wanted.emit)
        more.addAction(text("action.about"), self.about_wanted.emit)
        self._more = QPushButton(text("window.more"))
        self._more.setMenu(more)
        footer = QHBoxLayout()
        footer.setSpacing(8)
        for button in (self._load, self._start, self._stop, self._restart):
            footer.addWidget(button)
        footer.addStretch(1)
        footer.addWidget(self._more)
        footer.addWidget(_button(text("action.quit"), self.quit_wanted.emit))
        return footer

    def _refresh_problem(self, rows: MenuRows) -> None:
        situation = self._desk.situation
        sentence = situation.notice or situation.error
        self._problem.setText(text("window.question") if situation.question else shortened(sentence, DETAILS_LIMIT))
        self._problem_frame.setVisible(situation.question or bool(sentence))
        self._choose.setVisible(situation.question)
        self._details.setVisible(not situation.question)
        self._dismiss.setVisible(bool(situation.notice))

    def _refresh_buttons(self, rows: MenuRows) -> None:
        self._start.setVisible(rows.can_start)
        self._stop.setVisible(rows.can_stop)
        self._restart.setVisible(rows.can_stop)
        self._load.setVisible(rows.can_load)
        self._load.setEnabled(bool(rows.loadable))
        self._load.setToolTip("" if rows.loadable else text("menu.none_installed"))
        if rows.loadable == self._rows or self._load_menu.isVisible():
            return
        self._rows = rows.loadable
        self._load_menu.clear()
        for row in rows.loadable:
            label = row_label(row.name, row.size)
            self._load_menu.addAction(label, partial(self._desk.load, row.name))

    def _copy_details(self) -> None:
        situation = self._desk.situation
        QGuiApplication.clipboard().setText(situation.notice or situation.error)


def _button(label: str, clicked: Callable[[], object]) -> QPushButton:
    button = QPushButton(label)
    button.clicked.connect(lambda checked=False: clicked())
    return button


def _banner_label(words: str = "") -> QLabel:
    label = QLabel(words)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _banner(label: QLabel, *buttons: QPushButton) -> Banner:
    banner = Banner()
    row = QHBoxLayout(banner)
    row.setContentsMargins(14, 10, 10, 10)
    row.setSpacing(8)
    row.addWidget(label, 1)
    for button in buttons:
        row.addWidget(button)
    return banner
