"""Pictures of the tray's menu and of all windows, light and dark: `python -m tests.app.screenshots FOLDER`.

They are taken on a desktop of their own, with the programs that the tests with a display need.
"""

from __future__ import annotations

import pathlib
import shutil
import socket
import sys
import tempfile

from tests.app.display import Desktop, desktop, wait_for
from tests.app.fakes import FakeServer
from tests.app.test_app_display import icon_of, models, open_menu, start, window_of

LOOKS = {"light": ("#e8e8ea", "#b9c4cf"), "dark": ("#22252a", "#3a4048")}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def menu_and_window(place: Desktop, scheme: str) -> None:
    """The menu with a model's entries, then the window that a click opens, then the question before quitting."""
    port = free_port()
    app = start(place, port, f"--scheme={scheme}")
    icon = icon_of(place, app)
    wait_for(lambda: len(models(port)) == 3, "the models")
    open_menu(place, app)
    place.press("Down", "Down", "Right")
    wait_for(lambda: len(place.menus(app.pid)) == 2, "the submenu")
    place.picture("menu")
    place.press("Escape", "Escape")
    wait_for(lambda: not place.menus(app.pid), "the menu to close")
    place.click(icon.middle)
    place.settle("window", window_of(place))
    open_menu(place, app)
    place.press("Up", "Return")
    place.settle("quit", wait_for(lambda: place.windows(name="Quit Puna"), "the question")[0])


def port_question(place: Desktop, scheme: str) -> None:
    """The question when an Ollama has the port."""
    ollama = FakeServer(kind="ollama")
    try:
        start(place, ollama.port, f"--scheme={scheme}")
        place.settle("port", window_of(place))
    finally:
        ollama.close()


def without_tray(place: Desktop, scheme: str) -> None:
    """The window of a desktop without a tray."""
    port = free_port()
    start(place, port, f"--scheme={scheme}", "--tray-seconds=0")
    wait_for(lambda: len(models(port)) == 3, "the models")
    place.settle("no-tray", window_of(place))


def main() -> int:
    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for scheme, (panel, ground) in LOOKS.items():
        for scene, has_panel in ((menu_and_window, True), (port_question, True), (without_tray, False)):
            with tempfile.TemporaryDirectory() as folder:
                home = pathlib.Path(folder) / "d"
                with desktop(home, panel=panel if has_panel else None, ground=ground, size="1000x760") as place:
                    scene(place, scheme)
                for picture in home.glob("*.png"):
                    shutil.copy(picture, target / f"{scheme}-{picture.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
