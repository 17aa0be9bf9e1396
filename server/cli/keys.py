"""`puna keys`: the API keys of the server. `puna keys add NAME`, `puna keys list`, `puna keys revoke NAME`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from server.cli import formats
from server.cli.connect import connected
from server.cli.frame import Command, Failure, say
from server.cli.models import HOST

_NOT_REQUIRED = (
    "Note: the server lets everybody in, with a key or without. To let in only who has one, set PUNA_REQUIRE_KEY=1 and "
    "start it again."
)
_WORDS = "the words are: puna keys add NAME, puna keys list, puna keys revoke NAME"
_MAY = {
    "use": "ask models and list them",
    "manage": "ask models, and pull, make and remove them",
    "admin": "do everything, keys included",
}
_RECENT = timedelta(hours=1)


def _keys(args: tuple[str, ...], scope: str | None, json: bool) -> None:
    verb, names = (args[0] if args else "list"), args[1:]
    if verb not in ("add", "list", "revoke"):
        raise Failure(f'there is nothing to do with API keys called "{verb}"; {_WORDS}')
    if len(names) != (0 if verb == "list" else 1):
        raise Failure(_WORDS)
    if scope is not None and verb != "add":
        raise Failure("--scope goes with puna keys add NAME")
    with connected() as client:
        if verb == "add":
            _show_new(client.add_key(names[0], scope or "use"), json)
        elif verb == "revoke":
            answer = client.revoke_key(names[0])
            told = {"name": names[0], "revoked": True, **answer}
            click.echo(formats.as_json(told) if json else f"revoked '{names[0]}'\n", nl=False)
        else:
            _show(client.keys(), json)


def _show_new(answer: dict[str, Any], json: bool) -> None:
    """The key alone on standard output, for `KEY=$(puna keys add NAME)`."""
    if json:
        click.echo(formats.as_json(answer), nl=False)
        return
    click.echo(answer.get("key", ""))
    say(f"Keep it now, it is not shown again. Who sends it may {_MAY.get(str(answer.get('scope')), 'come in')}.")
    _say_whether_required(answer)


def _show(answer: dict[str, Any], json: bool) -> None:
    if json:
        click.echo(formats.as_json(answer), nl=False)
        return
    now = datetime.now(UTC)
    rows = [
        (
            str(key.get("name", "")),
            str(key.get("scope", "")),
            formats.moment(str(key.get("created_at", "")), now),
            _last_used(str(key.get("last_used_at") or ""), now),
        )
        for key in answer.get("keys") or ()
    ]
    click.echo(formats.table(("NAME", "SCOPE", "CREATED", "LAST USED"), rows), nl=False)
    if rows:
        _say_whether_required(answer)
    elif answer.get("required"):
        say("There are no keys yet, so nobody but you on this computer gets in: puna keys add NAME makes one")


def _last_used(text: str, now: datetime) -> str:
    """The server notes the hour and no more."""
    try:
        is_recent = now - datetime.fromisoformat(text) < _RECENT
    except ValueError:
        is_recent = False
    return "Within the hour" if is_recent else formats.moment(text, now)


def _say_whether_required(answer: dict[str, Any]) -> None:
    if not answer.get("required"):
        say(_NOT_REQUIRED)


keys = Command(
    "keys",
    callback=_keys,
    about="Show, make and revoke API keys: puna keys add NAME",
    arguments="[list | add NAME | revoke NAME]",
    arity=(0, 2),
    options=[
        click.Option(
            ["--scope"],
            metavar="scope",
            help="What a new key may do: use (ask models), manage (pull, make, remove them too) or admin (everything)",
        ),
        click.Option(["--json"], is_flag=True, help="Print JSON for scripts"),
    ],
    variables=HOST,
)
