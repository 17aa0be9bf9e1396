"""A desktop of our own for tests: X server, session bus, window manager and panel, and a hand on mouse and keyboard."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

Found = TypeVar("Found")
PATIENCE_SECONDS = 30.0

PANEL = """
rounded = 0
border_width = 0
background_color = {colour} 100
border_color = {colour} 100

panel_items = TS
panel_size = 100% 34
panel_position = bottom center horizontal
panel_background_id = 1
panel_monitor = all
wm_menu = 1
strut_policy = follow_size
systray_padding = 8 4 6
systray_icon_size = 22
systray_icon_asb = 100 0 0
task_icon = 1
"""


def wait_for(look: Callable[[], Found | None], what: str, seconds: float = PATIENCE_SECONDS) -> Found:
    """What `look` finds, as soon as it finds something."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        pause.wait(0.05)
    return found


@dataclass(frozen=True)
class Window:
    """A window on the screen, in pixels."""

    id: str
    x: int
    y: int
    width: int
    height: int

    @property
    def middle(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height // 2


@dataclass
class Desktop:
    """`environ` is for programs that shall run in it."""

    environ: dict[str, str]
    folder: pathlib.Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *command: str, **environ: str) -> subprocess.Popen[bytes]:
        """A program on this desktop; it ends with it. Its output is in `folder`."""
        log = self.folder / f"{pathlib.Path(command[0]).name}-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=self.environ | environ, stdout=output, stderr=output)
        self.processes.append(process)
        return process

    def do(self, *command: str) -> str:
        """Run a command to its end and return what it says; "" when it fails, as xdotool does for no match."""
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout if done.returncode == 0 else ""

    def windows(self, *, name: str = "", pid: int = 0) -> list[Window]:
        """Visible windows by title or process."""
        search = ["--name", name] if name else ["--pid", str(pid)]
        ids = self.do("xdotool", "search", "--onlyvisible", *search).split()
        return [window for found in ids if (window := self._window(found))]

    def _window(self, found: str) -> Window | None:
        values = dict(re.findall(r"(\w+)=(-?\d+)", self.do("xdotool", "getwindowgeometry", "--shell", found)))
        if "WIDTH" not in values:
            return None
        return Window(found, *(int(values[key]) for key in ("X", "Y", "WIDTH", "HEIGHT")))

    def tray_icon(self, pid: int) -> Window | None:
        """The app's icon: its small square window in the panel."""
        return next((w for w in self.windows(pid=pid) if 8 <= w.width <= 64 and 0.5 < w.width / w.height < 2), None)

    def menus(self, pid: int) -> list[Window]:
        """Open menus: the app's windows that are neither its icon nor called Puna."""
        titled = {window.id for window in self.windows(name="Puna")}
        return [window for window in self.windows(pid=pid) if window.width > 64 and window.id not in titled]

    def click(self, where: tuple[int, int], button: int = 1) -> None:
        x, y = where
        self.do("xdotool", "mousemove", str(x), str(y), "click", str(button))

    def press(self, *keys: str) -> None:
        self.do("xdotool", "key", "--delay", "40", *keys)

    def picture(self, name: str) -> pathlib.Path:
        """A picture of the screen."""
        path = self.folder / f"{name}.png"
        self.do("import", "-window", "root", str(path))
        return path

    def settle(self, name: str, window: Window) -> pathlib.Path:
        """A picture of the screen once the window has been drawn and stays as it is."""
        seen: list[bytes] = []
        copy = self.folder / "still.ppm"

        def is_still() -> bool:
            self.do("import", "-window", window.id, str(copy))
            seen.append(copy.read_bytes())
            return len(seen) > 3 and seen[-1] == seen[-2] == seen[-3]

        wait_for(is_still, "a window that stands still")
        return self.picture(name)

    def stop(self) -> None:
        for process in reversed(self.processes):
            end(process)


def end(process: subprocess.Popen[bytes], seconds: float = 15.0) -> int:
    """End a process politely, then firmly. Its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    if process.poll() is None:
        process.kill()
    return process.wait()


@contextlib.contextmanager
def desktop(
    folder: pathlib.Path, *, panel: str | None = "#e8e8ea", ground: str = "#b9c4cf", size: str = "1000x640"
) -> Iterator[Desktop]:
    """A running desktop. `panel` is the panel's colour; None is a desktop without a tray."""
    home = folder / "home"
    home.mkdir(parents=True)
    display, x_server = _start_x(size)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "DISPLAY": display,
        "XDG_RUNTIME_DIR": str(folder),
        "LANG": "C.UTF-8",
        # Without a desktop's name Qt knows neither light nor dark.
        "XDG_CURRENT_DESKTOP": "XFCE",
        "QT_QPA_PLATFORM": "xcb",
        "NO_AT_BRIDGE": "1",
    }
    place = Desktop(environ, folder, [x_server])
    try:
        place.environ["DBUS_SESSION_BUS_ADDRESS"] = _start_bus(place)
        place.do("display", "-window", "root", f"xc:{ground}")
        place.start("openbox")
        if panel:
            (folder / "panel.rc").write_text(PANEL.format(colour=panel))
            place.start("tint2", "-c", str(folder / "panel.rc"))
            wait_for(lambda: place.windows(name="^tint2$"), "the panel")
        yield place
    finally:
        place.stop()


def _start_x(size: str) -> tuple[str, subprocess.Popen[bytes]]:
    """An X server on a display number that is free, which it chooses itself."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        number = answer.readline().strip()
    assert number, "Xvfb did not start"
    return f":{number}", process


def _start_bus(place: Desktop) -> str:
    """The address of a session bus without any service, so that no status notifier of this machine is found."""
    address = f"unix:path={place.folder}/bus"
    place.start("dbus-daemon", "--session", "--nofork", f"--address={address}")
    wait_for(lambda: (place.folder / "bus").exists(), "the session bus")
    return address
