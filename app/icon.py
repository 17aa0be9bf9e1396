"""Icons painted from the glyph at every size a panel may ask for."""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QIcon, QImage, QLinearGradient, QPainter, QPainterPath, QPen, QPixmap, QTransform

from app.figure import Figure
from app.glyph import GRID, SCALE, glyph, path_data

TRAY_SIZES = (16, 18, 20, 22, 24, 32, 36, 40, 44, 48, 64)
APP_SIZES = (16, 22, 24, 32, 48, 64, 128, 256, 512)
RIM_WIDTH, RIM_OPACITY = 1.1, 0.38
INK_ON_LIGHT, INK_ON_DARK = "#1c1f26", "#ffffff"


def tray_image(figure: Figure, size: int, *, dark: bool, frame: int = 0, mask: bool = False) -> QImage:
    """One picture of `size` pixels. `dark`: for a dark panel. `mask`: black without a rim, for the system to tint."""
    image = _blank(size)
    painter = _painter(image, size)
    painter.scale(1 / SCALE, 1 / SCALE)
    path = glyph(figure, frame)
    if not mask:
        # In the other colour, for panels that are not as light or dark as the system says.
        rim = QColor(INK_ON_LIGHT if dark else INK_ON_DARK)
        rim.setAlphaF(RIM_OPACITY)
        pen = QPen(rim, RIM_WIDTH * SCALE)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.strokePath(path, pen)
    painter.fillPath(path, QColor("#000000" if mask else INK_ON_DARK if dark else INK_ON_LIGHT))
    painter.end()
    return image


@lru_cache(maxsize=64)
def tray_icon(figure: Figure, *, dark: bool, frame: int = 0, mask: bool = False) -> QIcon:
    """The icon of a figure with all its sizes; a macOS template image where `mask` is set."""
    icon = QIcon()
    for size in TRAY_SIZES:
        icon.addPixmap(QPixmap.fromImage(tray_image(figure, size, dark=dark, frame=frame, mask=mask)))
    icon.setIsMask(mask)
    return icon


@lru_cache(maxsize=1)
def app_icon() -> QIcon:
    """The icon of windows and of the program."""
    icon = QIcon()
    for size in APP_SIZES:
        icon.addPixmap(QPixmap.fromImage(app_image(size)))
    return icon


def app_image(size: int) -> QImage:
    """The plain at dusk in a rounded square."""
    image = _blank(size)
    painter = _painter(image, size)
    painter.setClipPath(_tile())
    for shape, colours in APP_LAYERS:
        gradient = QLinearGradient(QPointF(0, 0.5), QPointF(0, 15.5))
        for stop, colour in colours:
            gradient.setColorAt(stop, QColor(colour))
        painter.fillPath(_layer(shape), gradient)
    painter.end()
    return image


# Shapes of the app icon from back to front, each with the stops of its gradient from top to bottom. The shapes are
# written in SVG's words: M moves, L draws a line, C a curve.
APP_LAYERS: tuple[tuple[str, tuple[tuple[float, str], ...]], ...] = (
    ("M0 0 L16 0 L16 16 L0 16", ((0.0, "#2b3a67"), (0.45, "#8f5a83"), (0.72, "#f0a35e"))),
    ("M13.4 6.2 C13.4 7.857 12.057 9.2 10.4 9.2 C8.743 9.2 7.4 7.857 7.4 6.2 C7.4 4.543 8.743 3.2 10.4 3.2 "
     "C12.057 3.2 13.4 4.543 13.4 6.2", ((0.15, "#fff3d6"), (0.6, "#ffc86b"))),
    ("M0 12.2 L3.6 9.4 L5.2 10.4 L8.4 8.9 L11.6 10.6 L13.6 9.5 L16 11.3 L16 16 L0 16",
     ((0.55, "#7d4a72"), (0.9, "#56406b"))),
    ("M0 16 L0 12.6 L1.4 12.3 L5.2 5.9 L7.9 10.4 L9.2 9.6 L12.6 12.6 L16 13.4 L16 16",
     ((0.35, "#31365f"), (1.0, "#191c36"))),
)  # fmt: skip


def _layer(words: str) -> QPainterPath:
    path = QPainterPath()
    numbers: list[float] = []
    command = ""
    for word in words.split():
        if word[0].isalpha():
            command, word = word[0], word[1:]
        numbers.append(float(word))
        if len(numbers) == (6 if command == "C" else 2):
            _extend(path, command, numbers)
            numbers = []
    path.closeSubpath()
    return path


def _extend(path: QPainterPath, command: str, numbers: list[float]) -> None:
    points = [QPointF(numbers[index], numbers[index + 1]) for index in range(0, len(numbers), 2)]
    if command == "C":
        path.cubicTo(*points)
    elif command == "M":
        path.moveTo(points[0])
    else:
        path.lineTo(points[0])


def app_svg() -> str:
    """The app icon as SVG, of plain shapes and gradients alone: some renderers know no clipping."""
    tile = QTransform.fromScale(SCALE, SCALE).map(_tile())
    gradients, shapes = [], []
    for index, (words, colours) in enumerate(APP_LAYERS):
        stops = "".join(f'<stop offset="{stop:g}" stop-color="{colour}"/>' for stop, colour in colours)
        gradients.append(
            f'    <linearGradient id="g{index}" gradientUnits="userSpaceOnUse" x1="0" y1="16" x2="0" y2="496">'
            f"{stops}</linearGradient>"
        )
        shape = QTransform.fromScale(SCALE, SCALE).map(_layer(words)).intersected(tile)
        shapes.append(f'  <path fill="url(#g{index})" d="{path_data(shape)}"/>')
    return "\n".join([
        '<svg xmlns="http://www.w3.org/2000/svg" width="512" height="512" viewBox="0 0 512 512">',
        "  <defs>",
        *gradients,
        "  </defs>",
        *shapes,
        "</svg>\n",
    ])  # fmt: skip


def _tile() -> QPainterPath:
    tile = QPainterPath()
    tile.addRoundedRect(QRectF(0.5, 0.5, 15, 15), 3.4, 3.4)
    return tile


def _blank(size: int) -> QImage:
    image = QImage(size, size, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    return image


def _painter(image: QImage, size: int) -> QPainter:
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(size / GRID, size / GRID)
    return painter
