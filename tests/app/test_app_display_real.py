"""The program as users start it, with its own server and a model that runs."""

from __future__ import annotations

import pathlib
import signal
import sys

import pytest

from server.client import Client, file_digest
from server.errors import ServerUnreachable
from tests.app.display import Desktop, wait_for
from tests.app.test_app_display import ROOT, icon_of, models, open_menu, place, port, window_of
from tests.conftest import MODELS

__all__ = ["place", "port"]
pytestmark = [pytest.mark.display, pytest.mark.timeout(240)]
ONE_MODEL = 150  # the menu's height in pixels with at least one row of models


def install(client: Client, name: str, model: pathlib.Path) -> None:
    """Copy a model file into the server's store."""
    digest = file_digest(model)
    client.upload_blob(model, digest)
    assert [step["status"] for step in client.create({"model": name, "files": {model.name: digest}})][-1] == "success"


def test_a_real_model_is_unloaded_from_the_menu(place: Desktop, port: int) -> None:
    """desktop 1, 11, 17: the server answers within 10 s, logs into the log folder, and ends with the app."""
    app = place.start(sys.executable, "-m", "app", OLLAMA_HOST=f"127.0.0.1:{port}", PYTHONPATH=str(ROOT))
    icon_of(place, app)
    with Client(f"http://127.0.0.1:{port}") as client:
        wait_for(lambda: _answers(client), "the server", seconds=10)
        install(client, "scripted", MODELS / "scripted.gguf")
        client.load("scripted", keep_alive="10m")
        assert models(port) == ["scripted:latest"]
        place.click(icon_of(place, app).middle)
        place.settle("real-window", window_of(place))
        place.press("ctrl+w")
        wait_for(lambda: not place.windows(name="^Puna$"), "the window to be hidden")
        open_menu(place, app, higher_than=ONE_MODEL)
        place.press("Down", "Down", "Right")
        wait_for(lambda: len(place.menus(app.pid)) == 2, "the submenu")
        place.picture("real-menu")
        place.press("Return")
        wait_for(lambda: models(port) == [], "the model to be unloaded")
    app.send_signal(signal.SIGINT)
    assert app.wait(10) == 0
    logs = list((place.folder / "home").rglob("Puna/**/server.log"))
    assert len(logs) == 1
    assert "Listening on" in logs[0].read_text("utf-8")


def _answers(client: Client) -> bool:
    try:
        client.probe()
    except ServerUnreachable:
        return False
    return True
