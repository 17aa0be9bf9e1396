"""The real program on a real desktop: icon, menu, windows and questions under the hand of a user."""

from __future__ import annotations

import http.client
import json
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.display import Desktop, Window, desktop, wait_for
from tests.app.fakes import FakeServer, running

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = [pytest.mark.display, pytest.mark.timeout(180)]
WITH_MODELS = 230  # a menu is that high in pixels once it shows three models
Started = subprocess.Popen[bytes]


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Iterator[Desktop]:
    with desktop(tmp_path / "d") as place:
        yield place


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def start(place: Desktop, port: int, *words: str) -> Started:
    """The app around a fake server that runs three models."""
    command = (sys.executable, "-m", "tests.app.desk_app", *words)
    return place.start(*command, OLLAMA_HOST=f"127.0.0.1:{port}", PYTHONPATH=str(ROOT))


def models(port: int) -> list[str]:
    """The names of the running models, as any client hears them; none while there is no server."""
    return [model["name"] for model in ask(port, "/puna/v1/status").get("models", [])]


def ask(port: int, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError):
        return {}
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}


def icon_of(place: Desktop, app: Started) -> Window:
    return wait_for(lambda: place.tray_icon(app.pid), "the icon in the tray")


def open_menu(place: Desktop, app: Started, higher_than: int = WITH_MODELS) -> Window:
    """The menu, once it is higher than that: then it shows the models."""
    icon = icon_of(place, app)

    def is_open() -> bool:
        # A window manager that moves the focus just then closes the menu; a user clicks once more.
        place.click(icon.middle, button=3)
        try:
            return bool(wait_for(lambda: place.menus(app.pid), "the menu", seconds=3))
        except AssertionError:
            return False

    wait_for(is_open, "the menu")
    return wait_for(lambda: next((w for w in place.menus(app.pid) if w.height > higher_than), None), "the models")


def window_of(place: Desktop) -> Window:
    return wait_for(lambda: place.windows(name="^Puna$"), "the window")[0]


def colours(picture: pathlib.Path, part: Window) -> set[str]:
    """The colours inside a part of a picture of the screen."""
    area = f"{part.width}x{part.height}+{part.x}+{part.y}"
    done = subprocess.run(
        ["convert", str(picture), "-crop", area, "-depth", "8", "-unique-colors", "txt:-"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    return {line.split("#")[1][:6] for line in done.stdout.splitlines() if "#" in line and not line.startswith("# ")}


@pytest.mark.parametrize(("scheme", "ink"), [("light", "1C1F26"), ("dark", "FFFFFF")])
def test_the_icon_follows_light_and_dark(place: Desktop, port: int, scheme: str, ink: str) -> None:
    app = start(place, port, f"--scheme={scheme}")
    icon = icon_of(place, app)
    wait_for(lambda: ink in colours(place.picture("icon"), icon), f"an icon in #{ink}")


def test_a_model_is_unloaded_from_the_icon_with_the_keyboard(place: Desktop, port: int) -> None:
    """desktop 18: a click on the icon opens the menu; everything in it can be reached by keys."""
    app = start(place, port)
    icon_of(place, app)
    wait_for(lambda: len(models(port)) == 3, "three models")
    open_menu(place, app)
    # Past the headline to the first model, whose submenu opens on its first entry.
    place.press("Down", "Down", "Right")
    wait_for(lambda: len(place.menus(app.pid)) == 2, "the submenu")
    place.press("Return")
    wait_for(lambda: models(port) == ["qwen3:8b", "nomic-embed-text:latest"], "the first model to be unloaded")
    wait_for(lambda: not place.menus(app.pid), "the menu to close")


def test_a_second_start_shows_the_first(place: Desktop, port: int) -> None:
    """desktop 5, 6: the second start exits 0; with --hide nothing is shown."""
    app = start(place, port, "--hide")
    icon_of(place, app)
    hidden = start(place, port, "--hide")
    assert hidden.wait(30) == 0
    assert not place.windows(name="^Puna$")
    second = start(place, port)
    assert second.wait(30) == 0
    assert window_of(place).width > 400
    assert app.poll() is None


def test_a_taken_port_is_asked_about_and_the_other_program_left_alone(place: Desktop, tmp_path: pathlib.Path) -> None:
    ollama = FakeServer(kind="ollama", models=(running("theirs:latest"),))
    try:
        app = start(place, ollama.port)
        dialog = window_of(place)
        picture = place.picture("port")
        assert dialog.width >= 480
        assert len(colours(picture, dialog)) > 10
        place.press("Return")
        wait_for(lambda: dialog.id not in {window.id for window in place.windows(name="^Puna$")}, "the answer")
        place.click(icon_of(place, app).middle)
        window_of(place)
        assert ask(ollama.port, "/api/ps")["models"][0]["name"] == "theirs:latest"
        app.send_signal(signal.SIGTERM)
        assert app.wait(20) == 0
        assert ask(ollama.port, "/api/version") == {"version": "0.33.0"}
    finally:
        ollama.close()


def test_another_port_is_one_click_away(place: Desktop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        start(place, taken)
        window_of(place)
        place.press("Return")
        free = wait_for(lambda: next((p for p in range(taken + 1, taken + 50) if models(p)), 0), "the server elsewhere")
        assert free > taken


def test_without_a_tray_a_window_opens_and_closing_only_minimises(tmp_path: pathlib.Path, port: int) -> None:
    with desktop(tmp_path / "d", panel=None) as place:
        app = start(place, port, "--tray-seconds=0")
        window_of(place)
        wait_for(lambda: len(models(port)) == 3, "three models")
        place.press("ctrl+w")
        wait_for(lambda: not place.windows(name="^Puna$"), "the window to be minimised")
        assert app.poll() is None
        second = start(place, port)
        assert second.wait(30) == 0
        window_of(place)


def test_control_c_ends_it_at_once(place: Desktop, port: int) -> None:
    app = start(place, port)
    icon_of(place, app)
    wait_for(lambda: models(port), "the server")
    app.send_signal(signal.SIGINT)
    assert app.wait(10) == 0
    assert not models(port)


def test_quitting_while_work_runs_asks_once(place: Desktop, port: int) -> None:
    app = start(place, port)
    icon_of(place, app)
    wait_for(lambda: models(port), "the server")
    open_menu(place, app)
    place.press("Up", "Return")
    box = wait_for(lambda: place.windows(name="Quit Puna"), "the question")[0]
    place.press("Escape")
    wait_for(lambda: not place.windows(name="Quit Puna"), f"the question {box.id} to go")
    assert models(port)
    open_menu(place, app)
    place.press("Up", "Return")
    wait_for(lambda: place.windows(name="Quit Puna"), "the question")
    place.press("Tab", "Return")
    assert app.wait(15) == 0
