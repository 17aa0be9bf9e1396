"""Writes the icons as files: `python resources/icons/draw.py`. The shapes are those that the app paints while it runs.

tray-<state>.svg: one shape in the current text colour, for icon themes (also with a ring, where the server is open to
the network). tray-<state>-<light|dark>-<size>.png: for panels of that colour. puna.svg, puna-<size>.png: the program.
"""

from __future__ import annotations

import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent
sys.path.insert(0, str(FOLDER.parents[1]))

from app.figure import Figure, IconState, figure_of  # noqa: E402
from app.glyph import glyph, svg  # noqa: E402
from app.icon import APP_SIZES, app_image, app_svg, tray_image  # noqa: E402

TRAY_PNG_SIZES = (16, 22, 24, 32, 48, 64)


def figures() -> dict[str, Figure]:
    """Every figure by the name of its files."""
    named = {state.value: figure_of(state) for state in IconState}
    for state in IconState:
        exposed = figure_of(state, exposed=True)
        if exposed != named[state]:
            named[f"{state.value}-exposed"] = exposed
    return named


def texts() -> dict[str, str]:
    """The SVG files."""
    files = {f"tray-{name}.svg": svg(glyph(figure)) for name, figure in figures().items()}
    return {**files, "puna.svg": app_svg()}


def draw(folder: pathlib.Path) -> None:
    """Write all files."""
    for name, content in texts().items():
        (folder / name).write_text(content, encoding="utf-8")
    for size in APP_SIZES:
        app_image(size).save(str(folder / f"puna-{size}.png"))
    for name, figure in figures().items():
        for size in TRAY_PNG_SIZES:
            for panel in ("light", "dark"):
                picture = tray_image(figure, size, dark=panel == "dark")
                picture.save(str(folder / f"tray-{name}-{panel}-{size}.png"))


if __name__ == "__main__":
    draw(FOLDER)
