"""The desktop app put together: desk, tray, menu, windows and questions, and how it ends."""

from __future__ import annotations

import pathlib

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication, QMessageBox

from app import desktop
from app.arguments import Arguments, read
from app.desk import Desk
from app.engine import NewServer
from app.interrupt import Interrupt
from app.menu import TrayMenu
from app.port import PortConflict, port_question
from app.questions import PortDialog, about_box, quit_box
from app.situation import quit_question
from app.status_window import StatusWindow
from app.tray import Tray
from server.settings import Settings

END_SECONDS = 6.0


class Shell(QObject):
    """Owns everything that is shown."""

    def __init__(
        self,
        application: QApplication,
        settings: Settings,
        new_server: NewServer,
        arguments: Arguments,
        log_dir: pathlib.Path,
    ) -> None:
        super().__init__(application)
        self._application = application
        self._arguments = arguments
        self._log_dir = log_dir
        self._boxes: list[QMessageBox] = []
        self._dialog: PortDialog | None = None
        self._is_asking = self._is_leaving = False
        self.is_stuck = False
        self.desk = Desk(settings, new_server, self)
        self.menu = TrayMenu(self.desk, self)
        self.window = StatusWindow(self.desk)
        self.tray = Tray(self.desk, self.menu.menu, wait_seconds=arguments.tray_seconds, parent=self)
        self._interrupt = Interrupt(self)
        self._connect()

    def start(self) -> None:
        """Show the icon and start the server."""
        self.tray.look()
        self.desk.start()

    def show(self, arguments: list[str]) -> None:
        """A later start asks for the window, unless it was to stay hidden."""
        if not read(arguments).is_hidden:
            self.window.present()

    def quit(self) -> None:
        """Ask once when that would end work, then stop the server and leave."""
        question = quit_question(self.desk.situation)
        if not question or self._is_leaving:
            self.leave()
        elif not self._is_asking:
            self._is_asking = True
            box = quit_box(question)
            box.accepted.connect(self.leave)
            box.finished.connect(self._quit_answered)
            self._show_box(box)

    def leave(self) -> None:
        """Stop the server; the application ends when it has stopped."""
        if self._is_leaving:
            return
        self._is_leaving = True
        self.window.hide()
        self.desk.quit()

    def _connect(self) -> None:
        for source in (self.menu, self.window):
            source.logs_wanted.connect(self._open_logs)
            source.about_wanted.connect(lambda: self._show_box(about_box()))
            source.quit_wanted.connect(self.quit)
            source.question_wanted.connect(self._ask_about_port)
        self.menu.status_wanted.connect(self.window.present)
        self.tray.clicked.connect(self.window.present)
        self.tray.missing.connect(self._tray_missing)
        self.tray.found.connect(self._tray_found)
        self.desk.port_taken.connect(self._port_taken)
        self.desk.failed.connect(self.tray.notify)
        self.desk.ended.connect(self._application.quit)
        # A person at a terminal, and a system that shuts down, have decided already.
        self._interrupt.raised.connect(self.leave)
        self._application.commitDataRequest.connect(lambda manager: self.leave())
        self._application.aboutToQuit.connect(self._end)

    def _show_box(self, box: QMessageBox) -> None:
        # A window that nobody refers to is gone before it is seen.
        self._boxes.append(box)
        box.finished.connect(lambda result: self._boxes.remove(box))
        box.show()

    def _quit_answered(self) -> None:
        self._is_asking = False

    def _tray_missing(self) -> None:
        self.window.has_tray = False
        self.window.present()

    def _tray_found(self) -> None:
        self.window.has_tray = True
        self.window.refresh()

    def _port_taken(self, conflict: PortConflict) -> None:
        """The person who just started Puna is asked at once; a start in the background waits to be looked at."""
        if self._arguments.is_hidden:
            self.tray.notify("notice.question", port_question(conflict).explanation)
        else:
            self._ask_about_port()

    def _ask_about_port(self) -> None:
        conflict = self.desk.conflict
        if conflict is None:
            return
        if self._dialog is None:
            self._dialog = PortDialog(conflict)
            self._dialog.use_running.connect(self.desk.use_running)
            self._dialog.use_port.connect(self.desk.use_port)
            self._dialog.quit_wanted.connect(self.quit)
            self._dialog.destroyed.connect(self._forget_dialog)
        self._dialog.show()
        self._dialog.raise_()
        self._dialog.activateWindow()

    def _forget_dialog(self) -> None:
        self._dialog = None

    def _open_logs(self) -> None:
        desktop.open_folder(self._log_dir)

    def _end(self) -> None:
        self.tray.hide()
        self._interrupt.close()
        self.is_stuck = not self.desk.close(END_SECONDS)
