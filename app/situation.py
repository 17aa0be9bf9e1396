"""All that the interface shows, as one plain value, and what follows from it: icon, tooltip and state sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.figure import IconState
from app.i18n import counted, text
from app.measures import shortened, size_text
from server.messages.models import RunningModel

ServerState = Literal["stopped", "starting", "ready", "stopping", "failed"]
TOOLTIP_LIMIT = 127  # more is cut off by Windows


@dataclass(frozen=True)
class Installed:
    """A model that can be loaded."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Situation:
    """What is known now.

    address: `host:port` as shown; url: what programs use. borrowed: whose server is used instead of an own one.
    is_lost: a server that should answer does not. error: why the server could not start. notice: why the last action
    failed. question: another program has the port and the user has not chosen yet.
    """

    server: ServerState = "stopped"
    address: str = ""
    port: int = 0
    url: str = ""
    is_exposed: bool = False
    borrowed: Literal["", "puna", "ollama"] = ""
    is_lost: bool = False
    question: bool = False
    error: str = ""
    notice: str = ""
    models: tuple[RunningModel, ...] = ()
    installed: tuple[Installed, ...] = ()

    @property
    def is_up(self) -> bool:
        return self.server == "ready"

    @property
    def is_working(self) -> bool:
        return any(model.active for model in self.models)

    @property
    def loading(self) -> str:
        """The name of a model that is being loaded."""
        return next((model.name for model in self.models if model.state == "loading"), "")

    @property
    def busy_models(self) -> tuple[RunningModel, ...]:
        """Those whose answers would end with our own server."""
        return () if self.borrowed else tuple(model for model in self.models if model.active or model.waiting)


def icon_state(situation: Situation) -> IconState:
    """The first that holds: what waits for a person comes before what merely runs."""
    if situation.question:
        return IconState.ATTENTION
    if situation.server == "failed" or situation.is_lost:
        return IconState.ERROR
    if situation.server in ("starting", "stopping"):
        return IconState.STARTING
    if not situation.is_up:
        return IconState.STOPPED
    if situation.is_working:
        return IconState.WORKING
    return IconState.STARTING if situation.loading else IconState.READY


def state_text(situation: Situation) -> str:
    """What the server is doing, in a few words."""
    if situation.question:
        return text("state.question", address=situation.address)
    if not situation.is_up:
        return text(f"state.{situation.server}")
    if situation.is_lost:
        return text("state.lost", address=situation.address)
    if situation.borrowed:
        state = text(f"state.borrowed.{situation.borrowed}", address=situation.address)
    elif situation.loading and not situation.is_working:
        state = text("state.loading", name=situation.loading, address=situation.address)
    else:
        state = text("state.working" if situation.is_working else "state.ready", address=situation.address)
    return text("state.exposed", state=state) if situation.is_exposed else state


def tooltip(situation: Situation) -> str:
    """One sentence: `Ready on 127.0.0.1:11434 — 2 models, 6.2 GiB`."""
    state = state_text(situation)
    if situation.error and situation.server == "failed":
        state = f"{state}: {situation.error}"
    elif situation.is_up and situation.models:
        size_bytes = sum(model.size_bytes for model in situation.models)
        count = counted("models", len(situation.models))
        state = text("tooltip.loaded", state=state, count=count, size=size_text(size_bytes))
    return shortened(state, TOOLTIP_LIMIT)


def headline(situation: Situation) -> str:
    """The menu's first row: `Puna — ready on 127.0.0.1:11434`."""
    state = state_text(situation)
    return text("state.headline", state=state[:1].lower() + state[1:])


def quit_question(situation: Situation) -> str:
    """Names the work that quitting would end; "" when there is none."""
    busy = situation.busy_models
    if not busy:
        return ""
    names = [model.name for model in busy]
    listed = names[0] if len(names) == 1 else text("quit.list", first=", ".join(names[:-1]), last=names[-1])
    requests = counted("requests", sum(model.active + model.waiting for model in busy))
    return counted("quit.text", len(names), models=listed, requests=requests)
