"""Lines that begin with a slash. Whole words count: `/byebye` is unknown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import click

from server.cli.frame import say
from server.cli.models import models_table
from server.cli.progress import Progress
from server.cli.session import texts
from server.cli.session.setting import set_variable
from server.cli.session.showing import show_part
from server.cli.session.state import Session
from server.errors import InvalidModelName, NotFound, PunaError, ServerUnreachable
from server.messages.names import ModelName


class Leave(Exception):
    """The session is over."""


def obey(session: Session, line: str) -> bool:
    """Do what a line asks for. True when another model has to be loaded now. Raises Leave, ServerUnreachable."""
    command = _COMMANDS.get(line.split()[0])
    if command is None:
        click.echo(f"Unknown command '{line.split()[0]}'. Type /? for help")
        return False
    try:
        return bool(command(session, line))
    except ServerUnreachable:
        raise
    except PunaError as error:
        say(f"error: {error}")
        return False


def _help(session: Session, line: str) -> None:
    topic = line.split()[1:2]
    known = {"set": texts.SET, "/set": texts.SET, "show": texts.SHOW, "/show": texts.SHOW, "shortcuts": texts.SHORTCUTS}
    if topic and topic[0] in known:
        say(known[topic[0]])
        return
    say(texts.COMMANDS + (texts.FILES if session.takes_files else ""))


def _load(session: Session, line: str) -> bool:
    words = line.split()
    if len(words) != 2:
        click.echo("Usage:\n  /load <modelname>")
        return False
    name = words[1]
    try:
        info = session.client.show(name)
    except NotFound:
        click.echo(f"Couldn't find model '{name}'")
        return False
    click.echo(f"Loading model '{name}'")
    session.switch(name, info)
    return True


def _save(session: Session, line: str) -> None:
    words = line.split()
    if len(words) != 2:
        click.echo("Usage:\n  /save <modelname>")
        return
    name = words[1]
    try:
        ModelName.parse(name)
    except InvalidModelName:
        click.echo(f"error: The model name '{name}' is invalid")
        return
    with Progress() as progress, session.client.create(session.create_body(name)) as stream:
        for _ in stream:
            pass
        progress.clear()
    click.echo(f"Created new model '{name}'")


def _clear(session: Session, line: str) -> None:
    session.clear()
    click.echo("Cleared session context")


def _list(session: Session, line: str) -> None:
    click.echo(models_table(session.client.tags(), datetime.now(UTC)), nl=False)


def _set(session: Session, line: str) -> None:
    set_variable(session, line)


def _show(session: Session, line: str) -> None:
    show_part(session, line)


def _leave(session: Session, line: str) -> None:
    raise Leave


_COMMANDS: dict[str, Callable[[Session, str], bool | None]] = {
    "/?": _help,
    "/help": _help,
    "/set": _set,
    "/show": _show,
    "/load": _load,
    "/save": _save,
    "/clear": _clear,
    "/list": _list,
    "/bye": _leave,
    "/exit": _leave,
}
