"""The texts of the interface, by key; a language is one more table with the same keys.

Keys that end in `.one` and `.other` are the two forms of a count: ask for them with `counted`.
"""

from __future__ import annotations

from collections.abc import Mapping

ENGLISH: dict[str, str] = {
    # what the server is doing
    "state.stopped": "Stopped",
    "state.starting": "Starting…",
    "state.stopping": "Stopping…",
    "state.failed": "Could not start",
    "state.lost": "No answer from {address}; trying again",
    "state.ready": "Ready on {address}",
    "state.working": "Working on {address}",
    "state.loading": "Loading {name} on {address}",
    "state.exposed": "{state} (open to the network)",
    "state.question": "{address} is in use by another program",
    "state.borrowed.puna": "Using another Puna on {address}",
    "state.borrowed.ollama": "Using Ollama on {address}",
    "tooltip.loaded": "{state} — {count}, {size}",
    "state.headline": "Puna — {state}",
    "models.one": "{count} model",
    "models.other": "{count} models",
    "requests.one": "{count} request",
    "requests.other": "{count} requests",
    # one running model
    "model.row": "{name} — {detail}",
    "model.gpu": "{size} GPU",
    "model.cpu": "{size} CPU",
    "model.idle": "idle",
    "model.loading": "loading {percent} %",
    "model.stopping": "unloading",
    "model.working": "working",
    "model.speed": "{rate} tok/s",
    "model.reading": "reading {rate} tok/s",
    "model.waiting": "{count} waiting",
    "model.kept": "kept loaded",
    "model.left": "{time} left",
    "model.context": "{used} of {total} tokens of context in use",
    # units
    "unit.gib": "{number} GiB",
    "unit.mib": "{number} MiB",
    "unit.seconds": "{number} s",
    "unit.minutes": "{number} min",
    "unit.hours": "{number} h",
    # actions
    "action.copy_address": "Copy address",
    "action.unload": "Unload now",
    "action.keep": "Keep loaded",
    "action.copy_name": "Copy name",
    "action.load": "Load a model",
    "action.start": "Start server",
    "action.stop": "Stop server",
    "action.restart": "Restart server",
    "action.status": "Show status",
    "action.logs": "Open log folder",
    "action.about": "About Puna",
    "action.quit": "Quit Puna",
    "action.copy_details": "Copy details",
    "action.dismiss": "Dismiss",
    "action.choose": "Choose…",
    "menu.none_running": "No model is loaded",
    "menu.none_installed": "No other model is installed",
    "menu.problem": "⚠ {sentence}",
    "menu.question": "⚠ Port {port} is in use: choose what to do…",
    "menu.borrowed": "Started by another program, which alone can stop it",
    # notifications and sentences
    "notice.failed": "Puna’s server could not start",
    "notice.no_start": "Puna cannot start",
    "notice.action": "That did not work",
    "notice.question": "Puna’s port is in use",
    # the status window
    "window.title": "Puna",
    "window.running": "Running models",
    "window.empty": "No model is loaded",
    "window.empty_hint": "A model loads by itself when a program asks for it, or now with “Load a model”.",
    "window.stopped": "The server is stopped",
    "window.stopped_hint": "Programs cannot reach Puna until it is started.",
    "window.no_tray": "This desktop shows no tray icons, so Puna stays in this window. "
    "On GNOME, the extension “AppIndicator and KStatusNotifierItem Support” brings them back.",
    "window.question": "The server waits for your choice: use what runs there already, or start on another port.",
    "window.more": "More",
    # the question about the port
    "port.title.puna": "Another Puna runs already",
    "port.title.ollama": "Ollama runs already",
    "port.title.other": "Another program uses Puna’s port",
    "port.title.none": "Puna’s port was in use a moment ago",
    "port.text.puna": "A Puna server (version {version}{process}) answers on {address}.",
    "port.text.ollama": "An Ollama server (version {version}{process}) answers on {address}. It offers the same "
    "interface and shares the model folder.",
    "port.text.other": "{program} listens on {address}, but it is neither Puna nor Ollama.",
    "port.text.none": "Nothing listens on {address} any more.",
    "port.process": ", process {pid}",
    "port.program": "The program {name} (process {pid})",
    "port.unknown_program": "A program whose name the system does not tell",
    "port.advice": "Puna never ends other programs. Programs that expect Puna on port {port} reach the one that is "
    "there; with another port they have to be told.",
    "port.use_running": "Use the running server",
    "port.use_port": "Use port {port} instead",
    "port.retry": "Start on port {port}",
    "port.quit": "Quit",
    # quitting while work runs
    "quit.title": "Quit Puna?",
    "quit.text.one": "{models} is answering {requests}, which would end unfinished.",
    "quit.text.other": "{models} are answering {requests}, which would end unfinished.",
    "quit.list": "{first} and {last}",
    "quit.quit": "Quit anyway",
    "quit.stay": "Keep running",
    # about
    "about.title": "About Puna",
    "about.text": "Puna {version}\nSpeaks the interface of Ollama {reference}\n\n"
    "Large language models on your own computer. Nothing leaves this machine but model downloads that you ask for.",
}  # fmt: skip

CATALOGUES: dict[str, Mapping[str, str]] = {"en": ENGLISH}
_DECIMAL_POINTS = {"en": "."}
_GROUP_MARKS = {"en": ","}
_language = "en"


def text(key: str, **values: object) -> str:
    """The text of a key in the current language, or in English where that lacks it. Raises KeyError."""
    template = CATALOGUES[_language].get(key) or ENGLISH[key]
    return template.format(**values)


def counted(key: str, count: int, **values: object) -> str:
    """The form of `key` for a count, which is a value of the text too."""
    return text(f"{key}.{'one' if count == 1 else 'other'}", count=whole(count), **values)


def decimal(value: float, places: int) -> str:
    """A number with the language's decimal point."""
    return f"{value:.{places}f}".replace(".", _DECIMAL_POINTS[_language])


def whole(value: float) -> str:
    """A whole number with the language's marks between thousands."""
    return f"{round(value):,}".replace(",", _GROUP_MARKS[_language])
