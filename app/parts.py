"""Small parts of the window, drawn with the colours of the system's palette."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication, QImage, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QWidget

METER_PIXELS = 4
CARD_RADIUS = 8.0


class Card(QFrame):
    """A raised surface with rounded corners."""

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(faint(self.palette(), 0.14))
        painter.setBrush(self.palette().color(QPalette.ColorRole.Base))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), CARD_RADIUS, CARD_RADIUS)
        painter.end()


class Banner(QFrame):
    """A surface that asks to be read, tinted with the accent colour."""

    def paintEvent(self, event: QPaintEvent) -> None:
        tint = self.palette().color(QPalette.ColorRole.Highlight)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(_clear(tint, 0.45))
        painter.setBrush(_clear(tint, 0.13))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), CARD_RADIUS, CARD_RADIUS)
        painter.end()


class Meter(QWidget):
    """A thin bar that is filled from 0 to 1."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._fraction = 0.0
        self.setFixedHeight(METER_PIXELS)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_fraction(self, fraction: float) -> None:
        if fraction != self._fraction:
            self._fraction = fraction
            self.update()

    def sizeHint(self) -> QSize:
        return QSize(120, METER_PIXELS)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        whole = QRectF(self.rect())
        painter.setBrush(faint(self.palette(), 0.12))
        painter.drawRoundedRect(whole, METER_PIXELS / 2, METER_PIXELS / 2)
        if self._fraction > 0:
            painter.setBrush(self.palette().color(QPalette.ColorRole.Highlight))
            filled = QRectF(0, 0, max(METER_PIXELS, whole.width() * self._fraction), METER_PIXELS)
            painter.drawRoundedRect(filled, METER_PIXELS / 2, METER_PIXELS / 2)
        painter.end()


class QuietLabel(QLabel):
    """Text that stands back, in light and dark alike; the palette's own colour for that is too faint to read."""

    def __init__(self, words: str = "", parent: QWidget | None = None) -> None:
        super().__init__(words, parent)
        self._quieten()

    def changeEvent(self, event: QEvent) -> None:
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.ApplicationPaletteChange):
            self._quieten()
        super().changeEvent(event)

    def _quieten(self) -> None:
        palette = QGuiApplication.palette()
        ink = faint(palette, 0.66)
        # A change of ours is told to us too.
        if self.palette().color(QPalette.ColorRole.WindowText) != ink:
            palette.setColor(QPalette.ColorRole.WindowText, ink)
            self.setPalette(palette)


class Picture(QLabel):
    """A square picture in device pixels."""

    def __init__(self, size: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.points = size
        self.setFixedSize(size, size)
        self._image = QImage()

    @property
    def pixels(self) -> int:
        return round(self.points * self.devicePixelRatioF())

    def show_image(self, image: QImage) -> None:
        self._image = image
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.drawImage(self.rect(), self._image)
        painter.end()


def enlarged(label: QLabel, factor: float, *, bold: bool = False) -> QLabel:
    """The label in a larger size of its own font."""
    font = label.font()
    font.setPointSizeF(font.pointSizeF() * factor)
    font.setBold(bold)
    label.setFont(font)
    return label


def faint(palette: QPalette, share: float) -> QColor:
    """The text's colour, nearly transparent."""
    return _clear(palette.color(QPalette.ColorRole.WindowText), share)


def _clear(colour: QColor, share: float) -> QColor:
    clear = QColor(colour)
    clear.setAlphaF(share)
    return clear
