"""`/set`: variables of the session."""

from __future__ import annotations

from collections.abc import Callable

import click
import msgspec

from server.cli.frame import say
from server.cli.request_options import THINK_LEVELS, option_value
from server.cli.session import texts
from server.cli.session.line import without_quotes
from server.cli.session.state import Session
from server.errors import InvalidModelfile


def set_variable(session: Session, line: str) -> None:
    words = line.split()
    if len(words) < 2:
        say(texts.SET)
        return
    change = _VARIABLES.get(words[1])
    if change is None:
        click.echo(f"Unknown command '/set {words[1]}'. Type /? for help")
        return
    # What follows the second word, as it was typed: blanks and line breaks of a system text count.
    change(session, line.split(maxsplit=2)[2] if len(words) > 2 else "")


def _parameter(session: Session, rest: str) -> None:
    words = rest.split()
    if len(words) < 2:
        say(texts.PARAMETERS)
        return
    name, values = words[0], words[1:]
    try:
        session.options[name] = option_value(name, values)
    except InvalidModelfile as error:
        click.echo(f'Couldn\'t set parameter: "{error}"')
        return
    click.echo(f"Set parameter '{name}' to '{', '.join(values)}'")


def _system(session: Session, rest: str) -> None:
    if not rest.strip():
        say(texts.SET)
        return
    session.set_system(without_quotes(rest))
    click.echo("Set system message.")


def _history(is_kept: bool) -> Callable[[Session, str], None]:
    def change(session: Session, rest: str) -> None:
        session.history.is_kept = is_kept

    return change


def _view(name: str, field: str, value: bool) -> Callable[[Session, str], None]:
    def change(session: Session, rest: str) -> None:
        session.view = msgspec.structs.replace(session.view, **{field: value})
        click.echo(f"Set '{name}' mode.")

    return change


def _format(session: Session, rest: str) -> None:
    if rest.strip() != "json":
        click.echo("Invalid or missing format. For 'json' mode use '/set format json'")
        return
    session.fields["format"] = "json"
    click.echo("Set format to 'json' mode.")


def _no_format(session: Session, rest: str) -> None:
    session.fields.pop("format", None)
    click.echo("Disabled format.")


def _think(session: Session, rest: str) -> None:
    level = rest.strip()
    if level and level not in THINK_LEVELS:
        click.echo(f"Unknown thinking level '{level}'. It is one of {', '.join(THINK_LEVELS)}, or nothing")
        return
    session.fields["think"] = level or True
    _warn_of_thinking(session)
    click.echo(f"Set 'think' mode to '{level}'." if level else "Set 'think' mode.")


def _no_think(session: Session, rest: str) -> None:
    session.fields["think"] = False
    _warn_of_thinking(session)
    click.echo("Set 'nothink' mode.")


def _warn_of_thinking(session: Session) -> None:
    if "thinking" not in session.capabilities:
        say(f'warning: model "{session.model}" does not support thinking output')


_VARIABLES: dict[str, Callable[[Session, str], None]] = {
    "parameter": _parameter,
    "system": _system,
    "history": _history(True),
    "nohistory": _history(False),
    "wordwrap": _view("wordwrap", "wordwrap", True),
    "nowordwrap": _view("nowordwrap", "wordwrap", False),
    "format": _format,
    "noformat": _no_format,
    "verbose": _view("verbose", "verbose", True),
    "quiet": _view("quiet", "verbose", False),
    "think": _think,
    "nothink": _no_think,
}
