"""The command line of the desktop app."""

from __future__ import annotations

from dataclasses import dataclass

WAIT_FOR_TRAY_SECONDS = 60.0
_HIDDEN = {"hidden", "-j", "--hide", "--hidden"}
_VERSION = {"version", "-v", "--version"}
_TRAY_SECONDS = "--tray-seconds="


@dataclass(frozen=True)
class Arguments:
    """tray_seconds: how long a tray is waited for before the window opens instead."""

    is_hidden: bool = False
    wants_version: bool = False
    wants_serve: bool = False
    tray_seconds: float = WAIT_FOR_TRAY_SECONDS


def read(words: list[str]) -> Arguments:
    """Unknown words are ignored: a newer start of the app may hand over what this one does not know."""
    seconds = WAIT_FOR_TRAY_SECONDS
    for word in words:
        if word.startswith(_TRAY_SECONDS):
            seconds = _seconds(word.removeprefix(_TRAY_SECONDS), seconds)
    return Arguments(
        is_hidden=any(word in _HIDDEN for word in words),
        wants_version=any(word in _VERSION for word in words),
        wants_serve="serve" in words,
        tray_seconds=seconds,
    )


def _seconds(word: str, otherwise: float) -> float:
    try:
        return max(0.0, float(word))
    except ValueError:
        return otherwise
