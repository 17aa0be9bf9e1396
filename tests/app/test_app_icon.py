"""The drawings: told apart by shape, visible on light and dark, the same in files and on the screen."""

from __future__ import annotations

import importlib.util
import itertools
import pathlib
import types

import numpy as np
import numpy.typing as npt
import pytest
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication

from app.figure import FRAMES, Figure, IconState, figure_of
from app.icon import TRAY_SIZES, app_icon, tray_icon, tray_image

ICONS = pathlib.Path(__file__).parents[2] / "resources" / "icons"
pytestmark = pytest.mark.usefixtures("application")


def _draw() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("draw_icons", ICONS / "draw.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _shape(figure: Figure, size: int = 16, frame: int = 0) -> list[int]:
    """Opacity of each pixel, from 0 to 255."""
    image = tray_image(figure, size, dark=False, frame=frame, mask=True)
    return [image.pixelColor(x, y).alpha() for y in range(size) for x in range(size)]


def _difference(first: list[int], second: list[int]) -> float:
    """In pixels."""
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / 255


ALL = sorted({figure_of(state, exposed=exposed) for state in IconState for exposed in (False, True)}, key=repr)


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(ALL, 2)])
def test_states_differ_by_shape_at_the_smallest_size(one: Figure, other: Figure) -> None:
    assert _difference(_shape(one), _shape(other)) > 6


@pytest.mark.parametrize("figure", ALL)
def test_nothing_is_cut_off_at_the_edge(figure: Figure) -> None:
    size = 64
    shape = _shape(figure, size)
    corners = [shape[0], shape[size - 1]]
    assert corners == [0, 0]
    assert sum(shape) / 255 > size * size * 0.12


def test_a_working_sun_turns_and_comes_round() -> None:
    working = figure_of(IconState.WORKING)
    frames = [_shape(working, 22, frame) for frame in range(FRAMES)]
    assert all(_difference(one, other) > 1 for one, other in itertools.combinations(frames, 2))
    assert _shape(working, 22, FRAMES) == frames[0]


@pytest.mark.parametrize("dark", [False, True])
def test_the_glyph_stands_out_from_its_panel_and_has_a_rim_for_another_one(dark: bool) -> None:
    image = tray_image(figure_of(IconState.READY), 64, dark=dark)
    inside = image.pixelColor(22, 50)
    assert (inside.lightness() > 200) == dark
    rims = [image.pixelColor(x, 50) for x in range(64)]
    assert any(0 < colour.alpha() < 255 and (colour.lightness() < 100) == dark for colour in rims)


def test_icons_have_all_sizes() -> None:
    sizes = {size.width() for size in tray_icon(figure_of(IconState.READY), dark=True).availableSizes()}
    assert sizes == set(TRAY_SIZES)
    assert tray_icon(figure_of(IconState.READY), dark=False, mask=True).isMask()
    assert not app_icon().isNull()


def test_the_files_are_what_the_script_draws(tmp_path: pathlib.Path, application: QApplication) -> None:
    draw = _draw()
    for name, content in draw.texts().items():
        assert (ICONS / name).read_text("utf-8") == content, f"run resources/icons/draw.py: {name} is another one"
    draw.draw(tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in ICONS.iterdir() if path.suffix in (".svg", ".png")}
    for path in tmp_path.glob("*.png"):
        drawn_bytes, kept_bytes = _channels(path), _channels(ICONS / path.name)
        assert drawn_bytes.shape == kept_bytes.shape, path.name
        # Processors round a colour up or down.
        assert np.abs(drawn_bytes - kept_bytes).max() <= 2, path.name


def _channels(path: pathlib.Path) -> npt.NDArray[np.int16]:
    image = QImage(str(path)).convertToFormat(QImage.Format.Format_RGBA8888)
    return np.frombuffer(image.constBits(), np.uint8).astype(np.int16).reshape(image.height(), image.width(), 4)
