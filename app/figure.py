"""What the icon shows, as plain values: one state of the app is one figure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

FRAMES = 4  # pictures of one turn of the sun, which is one ray's width; shown at most four a second


class IconState(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    WORKING = "working"
    ATTENTION = "attention"
    ERROR = "error"


@dataclass(frozen=True)
class Figure:
    """Shapes that a state is drawn with.

    hollow: outlines alone. sun: a full disc, half risen, with turning rays, or a bar with a point in its place.
    badge: a dot in the lower corner. ring: around the sun, when the server listens beyond this computer.
    """

    sun: Literal["disc", "rising", "turning", "bar"] = "disc"
    hollow: bool = False
    badge: bool = False
    ring: bool = False


_FIGURES = {
    IconState.STOPPED: Figure(hollow=True),
    IconState.STARTING: Figure(sun="rising"),
    IconState.READY: Figure(),
    IconState.WORKING: Figure(sun="turning"),
    IconState.ATTENTION: Figure(badge=True),
    IconState.ERROR: Figure(sun="bar"),
}
_CAN_BE_EXPOSED = {IconState.READY, IconState.WORKING, IconState.ATTENTION}


def figure_of(state: IconState, *, exposed: bool = False) -> Figure:
    """The figure of a state; a server that is not up is not exposed."""
    plain = _FIGURES[state]
    if exposed and state in _CAN_BE_EXPOSED:
        return Figure(sun=plain.sun, hollow=plain.hollow, badge=plain.badge, ring=True)
    return plain
