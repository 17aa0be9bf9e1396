"""`/show`: what is known of the session's model."""

from __future__ import annotations

import click

from server.cli.frame import say
from server.cli.model_text import describe
from server.cli.session import texts
from server.cli.session.state import Session

_MISSING = {
    "license": "No license was specified for this model.",
    "modelfile": "",
    "template": "No prompt template was specified for this model.",
}


def show_part(session: Session, line: str) -> None:
    words = line.split()
    if len(words) < 2:
        say(texts.SHOW)
        return
    part = words[1]
    if part == "info":
        say(describe(session.info).rstrip("\n") + "\n")
    elif part in _MISSING:
        click.echo(str(session.info.get(part) or "") or _MISSING[part])
    elif part == "parameters":
        click.echo(_parameters(session))
    elif part == "system":
        click.echo(session.system or session.info.get("system") or "No system message was specified for this model.")
    else:
        click.echo(f"Unknown command '/show {part}'. Type /? for help")


def _parameters(session: Session) -> str:
    defined = str(session.info.get("parameters") or "").splitlines()
    lines = ["Model defined parameters:"]
    lines += [f"  {line}" for line in defined] or ["  No additional parameters were specified for this model."]
    if session.options:
        lines += ["", "User defined parameters:"]
        lines += [f"  {name:<30} {_shown(value)}" for name, value in session.options.items()]
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
