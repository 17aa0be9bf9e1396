"""The icon in the tray: its figure, its tooltip, and waiting for a tray that comes late or never."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QGuiApplication, QIcon
from PySide6.QtWidgets import QMenu, QSystemTrayIcon

from app import desktop
from app.desk import Desk
from app.figure import FRAMES, IconState, figure_of
from app.i18n import text
from app.icon import tray_icon
from app.situation import icon_state, tooltip

FRAME_MILLISECONDS = 250
LOOK_MILLISECONDS = 1_000
LATER_MILLISECONDS = 15_000
WAIT_SECONDS = 60.0


class Tray(QObject):
    """Shows the situation. clicked: the icon itself was clicked. missing: no tray came in time; it is still waited
    for, and `found` follows if one comes."""

    clicked = Signal()
    missing = Signal()
    found = Signal()

    def __init__(
        self,
        desk: Desk,
        menu: QMenu,
        *,
        wait_seconds: float = WAIT_SECONDS,
        is_available: Callable[[], bool] = QSystemTrayIcon.isSystemTrayAvailable,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._desk = desk
        self._menu = menu
        self._is_available = is_available
        self._looks_left = round(wait_seconds * 1000 / LOOK_MILLISECONDS)
        self._frame = 0
        self._stands_still = desktop.prefers_reduced_motion()
        self.icon: QSystemTrayIcon | None = None
        self._turn = QTimer(self, interval=FRAME_MILLISECONDS)
        self._turn.timeout.connect(self._next_frame)
        self._look = QTimer(self, interval=LOOK_MILLISECONDS)
        self._look.timeout.connect(self.look)
        desk.changed.connect(self.refresh)
        QGuiApplication.styleHints().colorSchemeChanged.connect(self.refresh)

    def look(self) -> None:
        """Show the icon if there is a tray now; else look again later."""
        if self._is_available():
            self._look.stop()
            self._appear()
            return
        if self._looks_left == 0:
            self._look.setInterval(LATER_MILLISECONDS)
            self.missing.emit()
        self._looks_left -= 1
        self._look.start()

    def refresh(self) -> None:
        """Icon and tooltip as the situation is."""
        if self.icon is None:
            return
        situation = self._desk.situation
        turns = icon_state(situation) is IconState.WORKING and not self._stands_still
        if turns and not self._turn.isActive():
            self._turn.start()
        elif not turns:
            self._turn.stop()
            self._frame = 0
        self.icon.setIcon(self.current_icon())
        self.icon.setToolTip(tooltip(situation))

    def current_icon(self) -> QIcon:
        situation = self._desk.situation
        figure = figure_of(icon_state(situation), exposed=situation.is_exposed)
        is_mask = desktop.wants_template_icon()
        return tray_icon(figure, dark=desktop.is_dark() and not is_mask, frame=self._frame, mask=is_mask)

    def notify(self, title_key: str, sentence: str) -> None:
        """A notification for what waits for a person; silent without a tray, where the window shows it."""
        if self.icon is not None:
            self.icon.showMessage(text(title_key), sentence, QSystemTrayIcon.MessageIcon.Warning)

    def hide(self) -> None:
        self._look.stop()
        self._turn.stop()
        if self.icon is not None:
            self.icon.hide()

    def _appear(self) -> None:
        # Made only now: icons made before the panel is up stay invisible on some desktops.
        self.icon = QSystemTrayIcon(self)
        self.icon.setContextMenu(self._menu)
        self.icon.activated.connect(self._activated)
        self.refresh()
        self.icon.show()
        self.found.emit()

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        if reason == QSystemTrayIcon.ActivationReason.Trigger and not desktop.wants_template_icon():
            self.clicked.emit()

    def _next_frame(self) -> None:
        self._frame = (self._frame + 1) % FRAMES
        if self.icon is not None:
            self.icon.setIcon(self.current_icon())
