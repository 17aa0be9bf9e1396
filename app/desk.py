"""The desk between the interface and the server: holds the situation, and carries out what the user wants."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

import msgspec
from PySide6.QtCore import QObject, Signal

from app.background import Background
from app.engine import Engine, NewServer
from app.port import PortConflict, address_text, look_at_port
from app.rows import recent_first
from app.situation import Installed, Situation
from app.status import StatusFeed
from app.wire import installed_of_tags
from server.client import Client
from server.errors import PunaError
from server.messages.models import RunningModel
from server.settings import Settings, is_loopback

log = logging.getLogger(__name__)

RECENT_NAMES = 10


class Desk(QObject):
    """changed: the situation is another one. port_taken: a PortConflict waits for a choice. failed: a title's key and
    a sentence for the user. ended: nothing runs any more after `quit`."""

    changed = Signal()
    port_taken = Signal(object)
    failed = Signal(str, str)
    ended = Signal()

    def __init__(self, settings: Settings, new_server: NewServer, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.conflict: PortConflict | None = None
        self.situation = Situation()
        self._recent: tuple[str, ...] = ()
        self._is_quitting = False
        self.engine = Engine(settings, new_server, self)
        self.engine.changed.connect(self._engine_changed)
        self.engine.ended.connect(self._engine_ended)
        self._feed = StatusFeed(self)
        self._feed.heard.connect(self._heard)
        self._feed.lost.connect(self._lost)
        self._background = Background(self)
        self._show_address()

    # ---- the server --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._update(question=False, error="", notice="", borrowed="")
        self.conflict = None
        self.engine.start()

    def stop(self) -> None:
        self.engine.stop()

    def restart(self) -> None:
        self.engine.restart()

    def use_port(self, port: int) -> None:
        """Start on another port, until the app ends."""
        self.engine.settings = msgspec.structs.replace(self.engine.settings, port=port)
        self._show_address()
        self.start()

    def use_running(self) -> None:
        """Show the server that has the port, instead of an own one."""
        conflict = self.conflict
        if conflict is None or conflict.kind not in ("puna", "ollama"):
            return
        self.conflict = None
        self._update(question=False, error="", borrowed=conflict.kind, server="ready", url=conflict.url)
        self._feed.follow(conflict.url, conflict.kind)
        self.refresh_installed()

    def quit(self) -> None:
        """Stop our own server; `ended` follows."""
        self._is_quitting = True
        self.engine.stop()

    def close(self, timeout: float) -> bool:
        """The very end: wait for the server's thread, and tell nothing more. False: the thread is stuck."""
        has_ended = self.engine.end(timeout)
        self._feed.unfollow()
        self._background.close()
        return has_ended

    # ---- models ------------------------------------------------------------------------------------------------------

    def watch(self, is_watched: bool) -> None:
        """Whether a menu or window is open."""
        self._feed.watch(is_watched)
        if is_watched:
            self.refresh_installed()

    def refresh_installed(self) -> None:
        if self.situation.is_up:
            self._ask(lambda client: installed_of_tags(client.tags()), self._installed, quietly=True)

    def load(self, name: str) -> None:
        self._recent = (name, *(other for other in self._recent if other != name))[:RECENT_NAMES]
        self._ask(lambda client: set_keep_alive(client, name, None))

    def unload(self, name: str) -> None:
        self._ask(lambda client: client.unload(name))

    def keep(self, name: str, is_kept: bool) -> None:
        """Keep it loaded for ever, or as long as the settings say."""
        seconds = -1.0 if is_kept else self.engine.settings.keep_alive_seconds
        self._ask(lambda client: set_keep_alive(client, name, seconds))

    def dismiss(self) -> None:
        """The user has read why the last action failed."""
        self._update(notice="")

    # ---- news --------------------------------------------------------------------------------------------------------

    def _engine_changed(self) -> None:
        engine = self.engine
        error = str(engine.error) if engine.error else ""
        if engine.state == "ready":
            self._update(server="ready", url=engine.url, error="", notice="", is_lost=False)
            self._show_address(urlsplit(engine.url).port)
            self._feed.follow(engine.url, "puna")
            self.refresh_installed()
            return
        self._feed.unfollow()
        self._update(server=engine.state, url="", error=error, models=(), is_lost=False)

    def _engine_ended(self) -> None:
        if self._is_quitting:
            self.ended.emit()
            return
        error = self.engine.error
        if error is None:
            return
        if error.kind == "PortTaken":
            settings = self.engine.settings
            self._background.run(
                lambda: look_at_port(settings.host, settings.port), self._conflict_found, self._start_failed
            )
        else:
            self._start_failed(error)

    def _start_failed(self, error: PunaError) -> None:
        self.failed.emit("notice.failed", str(error))

    def _conflict_found(self, conflict: PortConflict) -> None:
        if self.engine.is_running or self.situation.borrowed:
            return
        self.conflict = conflict
        self._update(question=True)
        self.port_taken.emit(conflict)

    def _heard(self, models: tuple[RunningModel, ...]) -> None:
        names = [model.name for model in models if model.name not in self._recent]
        self._recent = (*names, *self._recent)[:RECENT_NAMES]
        self._update(models=models, is_lost=False)

    def _lost(self, sentence: str) -> None:
        # Our own server closes its stream while it stops; the engine tells that better.
        if self.engine.state == "stopping":
            return
        log.warning("%s", sentence)
        self._update(is_lost=True, models=())

    def _installed(self, installed: tuple[Installed, ...]) -> None:
        self._update(installed=recent_first(installed, self._recent))

    # ---- common ------------------------------------------------------------------------------------------------------

    def _ask(
        self,
        question: Callable[[Client], object],
        done: Callable[..., None] = lambda answer: None,
        *,
        quietly: bool = False,
    ) -> None:
        """Ask the server in the background. A failure is told with the server's sentence, unless `quietly`."""
        url = self.situation.url

        def work() -> object:
            with Client(url) as client:
                return question(client)

        self._background.run(work, done, self._went_unheard if quietly else self._action_failed)

    def _went_unheard(self, error: PunaError) -> None:
        log.info("%s", error.log)

    def _action_failed(self, error: PunaError) -> None:
        if not self.situation.is_up:
            # The answer was cut off by a stop of the server, which is what the user wanted.
            log.info("%s", error.log)
            return
        self._update(notice=str(error))
        self.failed.emit("notice.action", str(error))

    def _show_address(self, port: int | None = None) -> None:
        """`port` is the one that the system chose where the settings say 0."""
        settings = self.engine.settings
        port = port or settings.port
        self._update(
            address=address_text(settings.host, port),
            port=port,
            is_exposed=not is_loopback(settings.host),
        )

    def _update(self, **fields: object) -> None:
        situation = replace(self.situation, **fields)  # type: ignore[arg-type]
        if situation != self.situation:
            self.situation = situation
            self.changed.emit()


def set_keep_alive(client: Client, name: str, seconds: float | None) -> None:
    """Load a model, or change how long it stays. None leaves the time as it is; negative is for ever."""
    fields = {} if seconds is None else {"keep_alive": -1 if seconds < 0 else f"{seconds:g}s"}
    try:
        client.load(name, **fields)
    except PunaError as error:
        # Models that only embed refuse to generate, even nothing.
        if error.status != 400 or "generate" not in str(error):
            raise
        client.embed({"model": name, "input": [], **fields})
