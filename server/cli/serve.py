"""`puna serve`: the server in the foreground. Every setting is a flag too."""

from __future__ import annotations

from typing import Any

import click

from server.cli.frame import Command
from server.settings import SETTINGS, Setting, help_rows, load


def _flag(setting: Setting) -> click.Option:
    about = setting.help if setting.kind.name == "text" else f"{setting.help} (default {setting.shown_default})"
    names = [setting.flag, setting.attribute]
    if setting.kind.name in ("boolean", "tristate"):
        # `--noprune` alone says true, `--noprune=false` and `--noprune false` say what they say.
        return click.Option(
            names, is_flag=False, flag_value="true", metavar="[bool]", help=about, hidden=setting.hidden
        )
    metavar = {"integer": "int", "duration": "duration", "log_level": "level"}.get(setting.kind.name, "string")
    return click.Option(names, metavar=metavar, help=about, hidden=setting.hidden)


def _serve(**flags: str | None) -> int:
    settings = load(flags=flags)
    from server.serve import run_foreground

    status: Any = run_foreground(settings)
    return int(status or 0)


serve = Command(
    "serve",
    callback=_serve,
    about="Start Puna",
    options=[_flag(setting) for setting in SETTINGS],
    variables=help_rows(),
)
