"""The menu's rows as plain values; the menu shows them and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from app.i18n import text, whole
from app.measures import memory_text, rate_text, shortened, size_text, time_text
from app.situation import Installed, Situation, headline
from server.messages.models import RunningModel

PROBLEM_LIMIT = 88
LOADABLE_LIMIT = 20
KEPT_SECONDS = 365 * 24 * 3600.0  # nobody waits for the end of what is kept longer


@dataclass(frozen=True)
class ModelRow:
    """One running model. `fraction` is its meter: loaded so far, or context in use."""

    name: str
    detail: str
    is_kept: bool
    can_unload: bool
    fraction: float
    meter: str


@dataclass(frozen=True)
class LoadRow:
    name: str
    size: str


@dataclass(frozen=True)
class MenuRows:
    """Empty texts are rows that are not there."""

    headline: str
    can_copy: bool
    problem: str
    question: str
    models: tuple[ModelRow, ...]
    empty: str
    loadable: tuple[LoadRow, ...]
    can_load: bool
    can_start: bool
    can_stop: bool
    borrowed: str


def menu_rows(situation: Situation, now: float) -> MenuRows:
    """`now` is a Unix time."""
    is_own = not situation.borrowed
    problem = situation.notice or (situation.error if situation.server == "failed" else "")
    if situation.question:
        problem = ""
    return MenuRows(
        headline=headline(situation),
        can_copy=situation.is_up,
        problem=text("menu.problem", sentence=shortened(problem, PROBLEM_LIMIT)) if problem else "",
        question=text("menu.question", port=situation.port) if situation.question else "",
        models=tuple(model_row(model, now) for model in situation.models) if situation.is_up else (),
        empty=text("menu.none_running") if situation.is_up and not situation.models else "",
        loadable=load_rows(situation.installed, situation.models),
        can_load=situation.is_up and not situation.is_lost,
        can_start=_can_start(situation),
        can_stop=is_own and situation.server in ("starting", "ready"),
        borrowed=text("menu.borrowed") if situation.borrowed else "",
    )


def _can_start(situation: Situation) -> bool:
    """An own server is offered where none is, and in place of a borrowed one that has gone."""
    if situation.borrowed:
        return situation.is_lost
    return situation.server in ("stopped", "failed") and not situation.question


def model_row(model: RunningModel, now: float) -> ModelRow:
    is_loading = model.state == "loading"
    used = model.used_tokens / model.context_tokens if model.context_tokens else 0.0
    return ModelRow(
        name=model.name,
        detail=detail(model, now),
        is_kept=_is_kept(model),
        can_unload=model.state in ("loading", "ready"),
        fraction=min(1.0, model.load_fraction if is_loading else used),
        meter="" if is_loading or not model.context_tokens
        else text("model.context", used=whole(model.used_tokens), total=whole(model.context_tokens)),
    )  # fmt: skip


def detail(model: RunningModel, now: float) -> str:
    """`1.9 GiB GPU · 41 tok/s · 4 min left`"""
    parts = [memory_text(model.size_bytes, model.gpu_bytes)] if model.size_bytes else []
    parts.append(_activity(model))
    if model.waiting:
        parts.append(text("model.waiting", count=model.waiting))
    if model.state == "ready":
        if _is_kept(model):
            parts.append(text("model.kept"))
        elif model.expires_at is not None:
            parts.append(text("model.left", time=time_text(model.expires_at - now)))
    return " · ".join(parts)


def load_rows(installed: tuple[Installed, ...], running: tuple[RunningModel, ...]) -> tuple[LoadRow, ...]:
    """The newest that are not loaded yet."""
    loaded = {model.name for model in running}
    free = [model for model in installed if model.name not in loaded]
    return tuple(LoadRow(model.name, size_text(model.size_bytes)) for model in free[:LOADABLE_LIMIT])


def recent_first(installed: tuple[Installed, ...], recent: tuple[str, ...]) -> tuple[Installed, ...]:
    """Those used lately in the order of use, then the others as they were."""
    rank = {name: index for index, name in enumerate(recent)}
    return tuple(sorted(installed, key=lambda model: rank.get(model.name, len(rank))))


def row_label(name: str, detail: str) -> str:
    """One line of a menu. No tab between the parts: menus that the desktop draws, as on macOS and GNOME, show it."""
    return menu_label(text("model.row", name=name, detail=detail))


def menu_label(label: str) -> str:
    """A menu would underline the letter after a single ampersand."""
    return label.replace("&", "&&")


def _activity(model: RunningModel) -> str:
    if model.state == "loading":
        return text("model.loading", percent=round(model.load_fraction * 100))
    if model.state in ("draining", "stopping"):
        return text("model.stopping")
    if not model.active:
        return text("model.idle")
    if model.tokens_per_second:
        return text("model.speed", rate=rate_text(model.tokens_per_second))
    if model.prompt_tokens_per_second:
        return text("model.reading", rate=rate_text(model.prompt_tokens_per_second))
    return text("model.working")


def _is_kept(model: RunningModel) -> bool:
    return model.keep_alive_seconds < 0 or model.keep_alive_seconds > KEPT_SECONDS
