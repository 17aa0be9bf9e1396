"""Questions to the user. None blocks: each is a window of its own whose answer is a signal."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMessageBox, QPushButton, QVBoxLayout, QWidget

from app.i18n import text
from app.icon import app_icon, app_image
from app.parts import Picture, QuietLabel, enlarged
from app.port import PortConflict, chosen_port, port_question
from server.version import REFERENCE_VERSION, VERSION

QUESTION_WIDTH = 500


class PortDialog(QWidget):
    """Another program has the port. Closing it leaves the question open, in the menu."""

    use_running = Signal()
    use_port = Signal(int)
    quit_wanted = Signal()

    def __init__(self, conflict: PortConflict) -> None:
        super().__init__(None, Qt.WindowType.Dialog)
        question = port_question(conflict)
        self.setWindowTitle(text("window.title"))
        self.setWindowIcon(app_icon())
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._picture = Picture(48)
        self._picture.show_image(app_image(self._picture.pixels))
        self._buttons = QHBoxLayout()
        self._buttons.setSpacing(8)
        self._add_button(text("port.quit"), self.quit_wanted.emit)
        self._buttons.addStretch(1)
        if question.use_port:
            self._add_button(question.use_port, lambda: self.use_port.emit(chosen_port(conflict)))
        if question.use_running:
            self._add_button(question.use_running, self.use_running.emit)
        self._arrange(question.title, question.explanation, question.advice)
        self._last_button.setDefault(True)
        self._last_button.setFocus()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.close()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._last_button.click()
        else:
            super().keyPressEvent(event)

    def _add_button(self, label: str, chosen: Callable[[], object]) -> None:
        button = QPushButton(label)
        button.setAutoDefault(True)
        button.clicked.connect(self.close)
        button.clicked.connect(lambda checked=False: chosen())
        self._buttons.addWidget(button)
        self._last_button = button

    def _arrange(self, title: str, explanation: str, advice: str) -> None:
        words = QVBoxLayout()
        words.setSpacing(8)
        words.addWidget(enlarged(QLabel(title), 1.25, bold=True))
        for label in (QLabel(explanation), QuietLabel(advice)):
            label.setWordWrap(True)
            label.setVisible(bool(label.text()))
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            words.addWidget(label)
        top = QHBoxLayout()
        top.setSpacing(16)
        top.addWidget(self._picture, 0, Qt.AlignmentFlag.AlignTop)
        top.addLayout(words, 1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(20, 20, 20, 16)
        whole.setSpacing(20)
        whole.addLayout(top)
        whole.addLayout(self._buttons)
        self.setFixedWidth(QUESTION_WIDTH)


def quit_box(question: str) -> QMessageBox:
    """Asks once before work is ended; `accepted` for quitting. Escape and the default button stay."""
    box = QMessageBox(QMessageBox.Icon.Question, text("quit.title"), text("quit.title"))
    box.setInformativeText(question)
    box.setWindowIcon(app_icon())
    leave = box.addButton(text("quit.quit"), QMessageBox.ButtonRole.AcceptRole)
    stay = box.addButton(text("quit.stay"), QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(stay)
    box.setEscapeButton(stay)
    box.setModal(False)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    leave.setAutoDefault(False)
    return box


def about_box() -> QMessageBox:
    """What this is."""
    box = QMessageBox(QMessageBox.Icon.NoIcon, text("about.title"), text("window.title"))
    box.setInformativeText(text("about.text", version=VERSION, reference=REFERENCE_VERSION))
    box.setIconPixmap(app_icon().pixmap(64))
    box.setWindowIcon(app_icon())
    box.setModal(False)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    return box


def problem_box(sentence: str) -> QMessageBox:
    """Why Puna does not start."""
    box = QMessageBox(QMessageBox.Icon.Critical, text("window.title"), text("notice.no_start"))
    box.setInformativeText(sentence)
    box.setWindowIcon(app_icon())
    return box
