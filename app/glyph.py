"""The tray glyph as geometry: a ridge of the high plain and the sun over it, on a grid of 16 by 16 units.

The states differ by shape, so that they can be told apart without colour: see `Figure`. One unit is one pixel of the
smallest icon; edges that matter there lie on whole units. Paths come back magnified by SCALE, because Qt flattens
curves of a few units to a handful of straight lines whenever it unites or subtracts paths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainterPath, QPainterPathStroker, QPolygonF, QTransform

from app.figure import FRAMES, Figure

GRID, SCALE = 16.0, 32.0
SUN = QPointF(11.5, 4.2)
RAYS = 8
_RIDGE = ((0.9, 14.5), (5.2, 6.1), (8.2, 11.0), (9.9, 9.7), (15.1, 14.5))
_RISING = QPointF(11.2, 9.4)
_BADGE = QPointF(12.8, 12.8)


@lru_cache(maxsize=32)
def glyph(figure: Figure, frame: int = 0) -> QPainterPath:
    """The filled outline of one figure. `frame` turns a working sun, from 0 to FRAMES - 1."""
    ridge = _ridge()
    if figure.hollow:
        drawn = _united((_outline(ridge, 2.5).intersected(ridge), _outline(_disc(SUN, 2.3), 1.2)))
    elif figure.sun == "rising":
        drawn = _united((ridge, _disc(_RISING, 4.4).subtracted(_grown(ridge, 2.3))))
    else:
        drawn = _united((ridge, _sun(figure, frame)))
    if figure.badge:
        drawn = _united((drawn.subtracted(_disc(_BADGE, 4.2)), _disc(_BADGE, 3.0)))
    return drawn.simplified()


def _ridge() -> QPainterPath:
    sharp = QPainterPath()
    sharp.addPolygon(QPolygonF([QPointF(x, y) * SCALE for x, y in _RIDGE]))
    sharp.closeSubpath()
    return _grown(sharp, 1.0).simplified()


def _sun(figure: Figure, frame: int) -> QPainterPath:
    turn = 360.0 / RAYS * (frame % FRAMES) / FRAMES
    if figure.sun == "bar":
        return _united((_bar(QRectF(10.0, 0.5, 2.0, 4.7)), _disc(QPointF(11.0, 7.1), 1.15)))
    if figure.ring:
        ring = _outline(_disc(SUN, 3.35), 1.15)
        return _united((_disc(SUN, 1.7), _notched(ring, turn) if figure.sun == "turning" else ring))
    if figure.sun == "turning":
        return _united((_disc(SUN, 2.0), *(_ray(turn + 360.0 / RAYS * index) for index in range(RAYS))))
    return _disc(SUN, 2.9)


def _ray(degrees: float) -> QPainterPath:
    ray = QPainterPath(QPointF(2.95, 0.0) * SCALE)
    ray.lineTo(QPointF(3.7, 0.0) * SCALE)
    return _placed(_stroked(ray, 1.05), degrees)


def _notched(ring: QPainterPath, turn: float) -> QPainterPath:
    """The ring with four gaps, which show that it turns."""
    for quarter in range(4):
        gap = QPainterPath()
        gap.addRect(QRectF(2.0 * SCALE, -0.8 * SCALE, 3.0 * SCALE, 1.6 * SCALE))
        ring = ring.subtracted(_placed(gap, 2 * turn + 90.0 * quarter))
    return ring


def _placed(path: QPainterPath, degrees: float) -> QPainterPath:
    radians = math.radians(degrees)
    cosine, sine = math.cos(radians), math.sin(radians)
    return QTransform(cosine, sine, -sine, cosine, SUN.x() * SCALE, SUN.y() * SCALE).map(path)


def _disc(centre: QPointF, radius: float) -> QPainterPath:
    disc = QPainterPath()
    disc.addEllipse(centre * SCALE, radius * SCALE, radius * SCALE)
    return disc


def _bar(rect: QRectF) -> QPainterPath:
    bar = QPainterPath()
    area = QRectF(rect.topLeft() * SCALE, rect.bottomRight() * SCALE)
    bar.addRoundedRect(area, 0.7 * SCALE, 0.7 * SCALE)
    return bar


def _stroked(path: QPainterPath, width: float) -> QPainterPath:
    stroker = QPainterPathStroker()
    stroker.setWidth(width * SCALE)
    stroker.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    stroker.setCapStyle(Qt.PenCapStyle.RoundCap)
    stroker.setCurveThreshold(0.05)
    return stroker.createStroke(path)


def _outline(path: QPainterPath, width: float) -> QPainterPath:
    return _stroked(path, width).simplified()


def _grown(path: QPainterPath, width: float) -> QPainterPath:
    return path.united(_stroked(path, width))


def _united(paths: Iterable[QPainterPath]) -> QPainterPath:
    whole = QPainterPath()
    for path in paths:
        whole = whole.united(path)
    return whole


def svg(path: QPainterPath, colour: str = "currentColor", *, size: int = 16) -> str:
    """The path as an SVG picture of one element."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" viewBox="0 0 512 512">\n'
        f'  <path fill="{colour}" fill-rule="evenodd" d="{path_data(path)}"/>\n</svg>\n'
    )


def path_data(path: QPainterPath) -> str:
    """The `d` of an SVG path, in the magnified units."""
    words: list[str] = []
    index = 0
    while index < path.elementCount():
        element = path.elementAt(index)
        kind = element.type
        if kind == QPainterPath.ElementType.CurveToElement:
            words.append("C" + " ".join(_point(path, index + step) for step in range(3)))
            index += 3
            continue
        words.append(("M" if kind == QPainterPath.ElementType.MoveToElement else "L") + _point(path, index))
        index += 1
    return " ".join(words)


def _point(path: QPainterPath, index: int) -> str:
    element = path.elementAt(index)
    x, y = element.x, element.y
    return f"{round(x, 1) + 0.0:g} {round(y, 1) + 0.0:g}"
